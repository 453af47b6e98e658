// A whole run of sd-scripts (tests/golden/flux_lora/e2e) again: its order, noise and timesteps give its losses and its
// LoRA. FLUX's LoRA is trained as a task does it; CLIP's, which the recorded run trains too, by autograd through its
// weights with the products added.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "config/optimizer_rules.h"
#include "diffusion/flow_loss.h"
#include "diffusion/flux_golden_test_support.h"
#include "diffusion/flux_objective.h"
#include "formats/json.h"
#include "models/clip/entry.h"
#include "models/clip/model.h"
#include "models/lora_text_names.h"
#include "optim/clip.h"
#include "optim/optimizer_table.h"
#include "train/parameter_group.h"

namespace millrace {
namespace {

constexpr double kTextEncoderFactor = 0.5, kTextScale = 0.5;
const std::string kFolder = kFluxGolden + "e2e/";

// CLIP with a LoRA on its layers, in one flat buffer for the optimizer.
class AdaptedClip {
 public:
  AdaptedClip(const nlohmann::json& config, const std::filesystem::path& lora)
      : weights_(find_model("clip"), kFolder + "clip_l.safetensors", config_file(config)),
        clip_(weights_.load(torch::kFloat32, torch::kCPU)) {
    int64_t size = 0;
    for (AdapterTensors& adapter : read_adapters(WeightStore(lora))) {
      const auto layer = flux::parse_text_encoder_layer(adapter.module);
      if (!layer) continue;
      adapter.module = layer->module;
      EXPECT_EQ(adapter.scale, kTextScale);
      size += adapter.tensors.at("up").values.numel() + adapter.tensors.at("down").values.numel();
      adapters_.push_back(std::move(adapter));
    }
    group_.name = "clip";
    group_.master = torch::zeros({size});
    group_.grad = torch::zeros({size});
    group_.lr_factor = kTextEncoderFactor;
    int64_t begin = 0;
    for (const AdapterTensors& adapter : adapters_) {
      for (const char* role : {"up", "down"}) {
        const torch::Tensor& start = adapter.tensors.at(role).values;
        const auto part = [&](const torch::Tensor& all) { return all.narrow(0, begin, start.numel()).view_as(start); };
        part(group_.master).copy_(start);
        values_[adapter.module][role] = part(group_.master);
        gradients_[adapter.module][role] = part(group_.grad);
        begin += start.numel();
      }
    }
    for (const auto& item : clip_->named_parameters()) parameters_[item.key()] = item.value();
    for (const AdapterTensors& adapter : adapters_) {
      base_[adapter.module] = parameters_.at(adapter.module + ".weight").clone();
    }
  }

  const FlatGroup& group() const { return group_; }
  const std::map<std::string, TensorMap>& values() const { return values_; }

  // [B, D], with a graph.
  torch::Tensor pooled(const torch::Tensor& ids_BL) {
    for (const auto& [module, matrices] : values_) {
      const torch::NoGradGuard no_grad;
      parameters_.at(module + ".weight")
          .copy_(base_.at(module) + kTextScale * at::matmul(matrices.at("up"), matrices.at("down")));
    }
    torch::AutoGradMode with_graph(true);
    for (auto& [name, parameter] : parameters_) {
      parameter.mutable_grad() = torch::Tensor();
      parameter.set_requires_grad(true);
    }
    return dynamic_cast<clip::Clip&>(*clip_).forward(ids_BL).pooled_BD;
  }

  // Adds the LoRA's gradients, from those of the weights.
  void backward(const torch::Tensor& pooled_BD, const torch::Tensor& gradient_BD) {
    {
      torch::AutoGradMode with_graph(true);
      pooled_BD.backward(gradient_BD);
    }
    const torch::NoGradGuard no_grad;
    for (auto& [name, parameter] : parameters_) parameter.set_requires_grad(false);
    for (const auto& [module, matrices] : values_) {
      const torch::Tensor dweight = parameters_.at(module + ".weight").grad() * kTextScale;
      gradients_.at(module).at("up").add_(at::matmul(dweight, matrices.at("down").t()));
      gradients_.at(module).at("down").add_(at::matmul(matrices.at("up").t(), dweight));
    }
  }

 private:
  static std::filesystem::path config_file(const nlohmann::json& config) {
    const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "golden_run_clip.json";
    write_file_atomically(path, config.dump());
    return path;
  }

  ModelWeights weights_;
  std::shared_ptr<torch::nn::Module> clip_;
  std::vector<AdapterTensors> adapters_;
  FlatGroup group_;
  std::map<std::string, TensorMap> values_, gradients_;  // by module and role
  TensorMap parameters_, base_;
};

// The rate of a step counted from 0, as a part of the largest.
double cosine_after_warmup(int64_t step) {
  return step < 2 ? static_cast<double>(step) / 2 : 0.5 * (1 + std::cos(M_PI * static_cast<double>(step - 2) / 6));
}

TEST(GoldenRun, ItsOrderAndNoiseGiveItsLossesAndItsLora) {
  const nlohmann::json run = parse_json<DataError>(read_file(kFolder + "run.json"), "run.json");
  const TensorMap inputs = load_tensors(kFolder + "inputs.safetensors");
  LoraConfig config;
  config.scale_weight_norms = 2;
  const std::unique_ptr<FluxAdapters> flux = golden_adapters(config);
  flux->start_from(kFolder + "init_lora.safetensors");
  AdaptedClip clip(run.at("clip_config"), kFolder + "init_lora.safetensors");

  OptimizerConfig rule;
  rule.name = "AdamW";
  rule.lr = 1e-2;
  rule.beta1 = 0.9;
  rule.beta2 = 0.999;
  rule.eps = 1e-8;
  rule.weight_decay = 0.01;
  std::vector<FlatGroup> groups = parameter_groups(flux->parameters(), {}, flux->parameters().grad());
  groups.push_back(clip.group());
  const std::unique_ptr<Optimizer> optimizer = make_optimizer({groups, with_rule_defaults(rule)});

  const nlohmann::json& steps = run.at("steps");
  for (size_t i = 0; i < steps.size(); ++i) {
    const nlohmann::json& step = steps[i];
    std::vector<torch::Tensor> latents, txt;
    for (const int64_t picture : step.at("images").get<std::vector<int64_t>>()) {
      latents.push_back(inputs.at("latent." + std::to_string(picture)));
      txt.push_back(inputs.at("t5." + std::to_string(picture)));
    }
    const torch::Tensor pooled = clip.pooled(inputs.at("clip_ids." + std::to_string(i)).to(torch::kInt64));
    const FluxBatch batch = golden_batch(at::stack(latents), at::stack(txt), pooled.detach());
    const FluxDraws draws = {inputs.at("noise." + std::to_string(i)).to(torch::kFloat32),
                             torch::tensor(step.at("timesteps").get<std::vector<float>>()) / 1000,
                             {}};
    const FluxObjective objective = {0, 2, {}};
    flux::Flux::Saved saved;
    const FluxPrediction prediction = predict_velocity(*flux, batch, draws, objective, Keep::kOutputs, &saved);
    const FlowLoss loss =
        flow_loss(objective.flow, prediction.velocity_BIC, prediction.target_BIC, draws.t_B, 0.5, torch::kFloat32);
    flux::FluxInputGradients input_gradients;
    flux->model().backward(saved, loss.doutput_BIC, &input_gradients);
    clip.backward(pooled, input_gradients.y_BV);

    const double expected = step.at("loss"), tolerance = i == 0 ? 5e-5 : 1e-3;
    EXPECT_NEAR(loss.per_sample_B.mean().item<double>(), expected, tolerance * expected) << "step " << i;
    const GradNorm norm = global_grad_norm(optimizer->groups(), 1);
    const double expected_norm = step.at("grad_norm");
    EXPECT_NEAR(norm.norm_1.item<double>(), expected_norm, 5 * tolerance * expected_norm) << "step " << i;
    optimizer->step(1e-2 * cosine_after_warmup(static_cast<int64_t>(i)), norm.coefficient_1);
    flux->weights_changed();
  }

  // One step of bf16, relative to the largest number of a matrix.
  int compared = 0;
  for (const AdapterTensors& adapter : read_adapters(WeightStore(kFolder + "after_8_steps.safetensors"))) {
    const auto text = flux::parse_text_encoder_layer(adapter.module);
    for (const auto& [role, in_file] : adapter.tensors) {
      torch::Tensor got;
      if (text) {
        got = clip.values().at(text->module).at(role);
      } else {
        for (const ParameterSlice& slice : flux->parameters().slices()) {
          std::string name = "lora_unet_" + layer_of(slice.name);
          std::replace(name.begin(), name.end(), '.', '_');
          if (name == adapter.module && role_of(slice.name) == role) {
            got = FlatParameters::view(flux->parameters().master(), slice);
          }
        }
      }
      ASSERT_TRUE(got.defined()) << in_file.name;
      EXPECT_LT(largest_error(got, in_file.values.to(torch::kFloat32)), 1.0 / 256) << in_file.name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 76);
}

}  // namespace
}  // namespace millrace
