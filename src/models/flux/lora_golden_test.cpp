// LoRA with dropouts, and without effect, against sd-scripts' numbers (tests/golden/flux_lora/forward), with its masks.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "adapters/lora.h"
#include "adapters/max_norm.h"
#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "formats/json.h"
#include "models/adapted_model.h"
#include "models/flux/lora_layout.h"
#include "models/flux/lora_names.h"
#include "models/flux/model.h"

namespace millrace::flux {
namespace {

const std::string kFolder = MILLRACE_GOLDEN "/flux_lora/forward/";
constexpr double kShift = 3.1582, kAlpha = 2;

FluxConfig tiny() {
  FluxConfig config;
  config.vec_in_dim = config.context_in_dim = 32;
  config.hidden_size = 64;
  config.num_heads = 4;
  config.depth = config.depth_single_blocks = 2;
  config.axes_dim = {4, 6, 6};
  config.guidance_embed = true;
  return config;
}

// [B, C, h, w] to [B, h w / 4, 4 C].
torch::Tensor pack(const torch::Tensor& latents) {
  const int64_t b = latents.size(0), c = latents.size(1), h = latents.size(2) / 2, w = latents.size(3) / 2;
  return latents.view({b, c, h, 2, w, 2}).permute({0, 2, 4, 1, 3, 5}).reshape({b, h * w, 4 * c});
}

// The largest difference, relative to the largest value expected.
double error_of(const torch::Tensor& got, const torch::Tensor& expected) {
  return ((got - expected).abs().max() / expected.abs().max()).item<double>();
}

class LoraGolden : public testing::Test {
 protected:
  LoraGolden() {
    flux_.flat_parameters().assign(load_tensors(kFolder + "base.safetensors"));
    std::vector<AdapterTensors> in_file;
    for (const auto& [name, tensor] : load_tensors(kFolder + "plain.safetensors")) {
      if (!starts_with(name, "lora.") || !ends_with(name, ".lora_down.weight")) continue;
      const std::string module = name.substr(5, name.size() - 5 - std::string(".lora_down.weight").size());
      AdapterTensors adapter;
      adapter.module = module;
      adapter.scale = kAlpha / static_cast<double>(tensor.size(0));
      adapter.tensors["down"] = {module + ".lora_down.weight", tensor};
      adapter.tensors["up"] = {module + ".lora_up.weight", plain_.at("lora." + module + ".lora_up.weight")};
      in_file.push_back(adapter);
    }
    LinearLayers layers;
    for (const auto& item : flux_.named_modules("", /*include_self=*/false)) {
      if (auto layer = std::dynamic_pointer_cast<Linear>(item.value())) layers[item.key()] = layer;
    }
    adapters_ = std::make_unique<AttachedAdapters>(layers, transformer_adapters(in_file, config_, "plain"), "plain",
                                                   FlatParametersOptions{});
    for (const auto& [name, layer] : layers) {
      if (layer->adapter()) loras_[kohya_name(LoraPart::kTransformer, name)] = dynamic_cast<Lora*>(layer->adapter());
    }

    const TensorMap given = load_tensors(kFolder + "inputs.safetensors");
    const torch::Tensor uniform = torch::sigmoid(given.at("raw_normal"));
    const torch::Tensor sigma = kShift * uniform / (1 + (kShift - 1) * uniform), blend = sigma.view({-1, 1, 1, 1});
    const torch::Tensor &latents = given.at("latents"), &noise = given.at("noise");
    const int64_t batch = latents.size(0), h = latents.size(2) / 2, w = latents.size(3) / 2;
    inputs_.img_BIC = pack((1 - blend) * latents + blend * noise);
    velocity_ = pack(noise - latents);
    torch::Tensor ids = torch::zeros({h, w, 3});
    ids.select(2, 1).copy_(torch::arange(h).view({h, 1}).expand({h, w}));
    ids.select(2, 2).copy_(torch::arange(w).view({1, w}).expand({h, w}));
    inputs_.img_ids_BIA = ids.view({1, h * w, 3});
    inputs_.txt_BTX = given.at("t5_out");
    inputs_.txt_ids_BTA = given.at("txt_ids");
    inputs_.timesteps_B = sigma;
    inputs_.y_BV = given.at("clip_pooled");
    inputs_.guidance_B = torch::ones({batch});
  }

  // The output, and every gradient that the file has, of the mean squared error.
  void expect(const std::string& variant) {
    const TensorMap expected = load_tensors(kFolder + variant + ".safetensors");
    Flux::Saved saved;
    const torch::Tensor pred = flux_.forward(inputs_, &saved);
    EXPECT_LT(error_of(pred, expected.at("pred")), 2e-5) << variant;
    flux_.backward(saved, 2 * (pred - velocity_) / static_cast<double>(pred.numel()));
    const TensorMap gradients = adapters_->gradients();
    int compared = 0;
    for (const auto& [name, tensor] : expected) {
      if (!starts_with(name, "grad.")) continue;
      const torch::Tensor& got = gradients.at(name.substr(5));
      if (tensor.count_nonzero().item<int64_t>() == 0) {
        EXPECT_EQ(got.count_nonzero().item<int64_t>(), 0) << variant << ": " << name;
      } else {
        EXPECT_LT(error_of(got, tensor), 2e-4) << variant << ": " << name;
      }
      ++compared;
    }
    EXPECT_GE(compared, variant == "multiplier0" ? 0 : 6);
  }

  // mask.<module>.<kind> of a file.
  std::map<std::string, torch::Tensor> masks(const std::string& variant, const std::string& kind) const {
    std::map<std::string, torch::Tensor> result;
    for (const auto& [name, tensor] : load_tensors(kFolder + variant + ".safetensors")) {
      if (starts_with(name, "mask.")) result[name.substr(5, name.size() - 6 - kind.size())] = tensor;
    }
    EXPECT_EQ(result.size(), loras_.size());
    return result;
  }

  const TensorMap plain_ = load_tensors(kFolder + "plain.safetensors");
  const FluxConfig config_ = tiny();
  Flux flux_{config_, {}};
  std::unique_ptr<AttachedAdapters> adapters_;
  std::map<std::string, Lora*> loras_;  // by kohya's name
  FluxInputs inputs_;
  torch::Tensor velocity_;
};

TEST_F(LoraGolden, DropoutOfNumbers) {
  for (const auto& [name, mask] : masks("network_dropout", "drop0")) {
    loras_.at(name)->set_mask(mask.to(torch::kFloat32).view({-1, mask.size(-1)}) / 0.7);
  }
  expect("network_dropout");
}

TEST_F(LoraGolden, DropoutOfEachSamplesRanks) {
  for (const auto& [name, mask] : masks("rank_dropout", "rank_keep")) {
    loras_.at(name)->set_mask(mask.to(torch::kFloat32) / 0.6);
  }
  expect("rank_dropout");
}

TEST_F(LoraGolden, DropoutOfModules) {
  for (const auto& [name, skip] : masks("module_dropout", "module_skip")) {
    loras_.at(name)->set_strength(skip.item<int64_t>() ? 0 : 1);
  }
  expect("module_dropout");
}

TEST_F(LoraGolden, WithoutStrengthIsTheModelItself) {
  for (const auto& [name, lora] : loras_) lora->set_strength(0);
  expect("multiplier0");
  EXPECT_EQ(adapters_->parameters().grad().count_nonzero().item<int64_t>(), 0);
}

TEST(LoraNorms, AreLimitedAsTheReferencesAre) {
  const auto golden =
      parse_json<DataError>(read_file(kFolder + "scale_weight_norms.json"), "golden").at("scale_weight_norms");
  TensorMap tensors = load_tensors(kFolder + "scale_weight_norms.safetensors"), before;
  std::vector<LoraPair> pairs;
  for (auto& [name, tensor] : tensors) {
    before[name] = tensor.clone();
    if (!ends_with(name, ".lora_down.weight")) continue;
    const std::string up = name.substr(0, name.size() - std::string("down.weight").size()) + "up.weight";
    pairs.push_back(
        {tensor, tensors.at(up), golden.at("network_alpha").get<double>() / golden.at("network_dim").get<double>()});
  }
  const MaxNormResult result = max_norm_factors(product_norms(pairs), golden.at("max_norm"));
  for (size_t i = 0; i < pairs.size(); ++i) {
    pairs[i].down_RK.mul_(result.factors[i]);
    pairs[i].up_NR.mul_(result.factors[i]);
  }
  EXPECT_EQ(result.scaled, golden.at("keys_scaled"));
  EXPECT_NEAR(result.mean_norm, golden.at("mean_norm"), 1e-5);
  EXPECT_NEAR(result.max_norm, golden.at("max_norm_after"), 1e-5);
  for (const auto& [name, factor] : golden.at("factor_applied_to_tensor").items()) {
    const std::string key = "before." + name;
    EXPECT_LT(error_of(tensors.at(key), before.at(key) * factor.get<double>()), 1e-5) << name;
  }
}

}  // namespace
}  // namespace millrace::flux
