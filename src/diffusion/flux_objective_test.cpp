// A step of LoRA as a task computes it, against sd-scripts' losses and gradient norms (tests/golden/flux_lora/forward).
#include "diffusion/flux_objective.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "diffusion/flux_golden_test_support.h"
#include "diffusion/lora_result.h"
#include "formats/json.h"
#include "models/flux/lora_export.h"

namespace millrace {
namespace {

constexpr double kShift = 3.1582;

struct FluxLoraLike : FluxRunConfig {
  LoraConfig adapters = {.rank = 4, .alpha = 2};
  FluxAdapterOptions options;
  const LoraConfig* lora() const override { return &adapters; }
  const FluxAdapterOptions* flux_adapters() const override { return &options; }
};

class FluxObjectiveGolden : public testing::Test {
 protected:
  FluxObjectiveGolden() {
    adapters_ = golden_adapters();
    adapters_->start_from(recorded_lora("plain"));

    const TensorMap given = load_tensors(kFluxGolden + "forward/inputs.safetensors");
    const torch::Tensor v = torch::sigmoid(given.at("raw_normal"));
    batch_ = golden_batch(given.at("latents"), given.at("t5_out"), given.at("clip_pooled"));
    draws_ = {given.at("noise"), kShift * v / (1 + (kShift - 1) * v), {}};
  }

  // The recorded LoRA as a file of kohya's.
  static std::filesystem::path recorded_lora(const std::string& name) {
    TensorMap lora;
    for (const auto& [key, tensor] : load_tensors(kFluxGolden + "forward/" + name + ".safetensors")) {
      if (!starts_with(key, "lora.")) continue;
      lora[key.substr(5)] = tensor;
      const size_t matrix = key.find(".lora_", 5);
      if (matrix != std::string::npos) lora[key.substr(5, matrix - 5) + ".alpha"] = torch::tensor(2.0F);
    }
    const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / ("flux_objective_" + name);
    save_tensors(file, lora);
    return file;
  }

  void expect(const nlohmann::json& golden, const FlowObjectiveConfig& flow) {
    const torch::Tensor& grad = adapters_->parameters().grad();
    grad.zero_();
    const FluxObjective objective = {0, 2, flow};
    const torch::Tensor sum = train_on_batch(*adapters_, batch_, draws_, objective, Keep::kOutputs, 0.5);
    EXPECT_NEAR(sum.item<double>() / 2, golden.at("loss").get<double>(), 2e-5 * golden.at("loss").get<double>());
    if (!golden.contains("grad_norm")) return;
    EXPECT_NEAR(grad.norm().item<double>(), golden.at("grad_norm"), 2e-4 * golden.at("grad_norm").get<double>());
  }

  // The loss, and every recorded gradient.
  void expect_file(const std::string& variant) {
    expect(golden_.at("variants").at(variant), {});
    FlatParameters& flat = adapters_->parameters();
    const TensorMap recorded = load_tensors(kFluxGolden + "forward/" + variant + ".safetensors");
    for (const auto& [name, gradient] : flat.named_views(flat.grad())) {
      std::string layer = layer_of(name);
      std::replace(layer.begin(), layer.end(), '.', '_');
      const torch::Tensor& golden = recorded.at("grad.lora_unet_" + layer + ".lora_" + role_of(name) + ".weight");
      if (golden.count_nonzero().item<int64_t>() == 0) {
        EXPECT_EQ(gradient.count_nonzero().item<int64_t>(), 0) << name;
      } else {
        EXPECT_LT(largest_error(gradient, golden), 2e-4) << name;
      }
    }
  }

  const nlohmann::json golden_ = parse_json<DataError>(read_file(kFluxGolden + "forward/losses.json"), "losses.json");
  std::unique_ptr<FluxAdapters> adapters_;
  FluxBatch batch_;
  FluxDraws draws_;
};

TEST_F(FluxObjectiveGolden, LossAndGradientOfEveryChoice) {
  using enum LossType;
  using enum PredictionType;
  const nlohmann::json& cases = golden_.at("loss_variants_with_plain_lora");
  expect(cases.at("min_snr_gamma_noop"), {});
  expect(cases.at("l1"), {.loss_type = kL1});
  expect(cases.at("huber_constant"), {.loss_type = kHuber, .huber_c = 0.15});
  expect(cases.at("huber_exponential"), {.loss_type = kHuber, .huber_schedule = HuberSchedule::kExponential});
  expect(cases.at("smooth_l1_exponential_scale2"),
         {.loss_type = kSmoothL1, .huber_schedule = HuberSchedule::kExponential, .huber_scale = 2});
  expect(cases.at("additive"), {.model_prediction_type = kAdditive});
  expect(cases.at("sigma_scaled"), {.model_prediction_type = kSigmaScaled});
  expect(cases.at("sigma_scaled_sigma_sqrt"),
         {.weighting_scheme = WeightingScheme::kSigmaSqrt, .model_prediction_type = kSigmaScaled});
  expect(cases.at("sigma_scaled_cosmap"),
         {.weighting_scheme = WeightingScheme::kCosmap, .model_prediction_type = kSigmaScaled});
}

// "double_blocks.0.img_attn.qkv.k.down" as sd-scripts names it while it trains.
std::string split_name(const std::string& ours) {
  static const std::map<std::string, int> numbers = {{"q", 0}, {"k", 1}, {"v", 2}, {"mlp", 3}};
  std::string layer = layer_of(ours), number;
  const auto found = numbers.find(role_of(layer));
  if (found != numbers.end()) {
    layer = layer_of(layer);
    number = std::to_string(found->second) + ".";
  }
  std::replace(layer.begin(), layer.end(), '.', '_');
  return "lora_unet_" + layer + ".lora_" + role_of(ours) + "." + number + "weight";
}

TEST_F(FluxObjectiveGolden, SplitLayersHaveItsLossGradientsAndFile) {
  FluxAdapterOptions options;
  options.split_qkv = true;
  adapters_ = golden_adapters({}, options);
  adapters_->start_from(recorded_lora("split_qkv"));
  expect(golden_.at("variants").at("split_qkv"), {});
  FlatParameters& flat = adapters_->parameters();
  const TensorMap golden = load_tensors(kFluxGolden + "forward/split_qkv.safetensors");
  for (const auto& [name, gradient] : flat.named_views(flat.grad())) {
    EXPECT_LT(largest_error(gradient, golden.at("grad." + split_name(name))), 2e-4) << name;
  }

  FluxLoraLike config;
  config.options = options;
  const std::vector<AdapterTensors> trained = configured_adapters(config.adapters, flat.named_views(flat.master()));
  const TensorMap saved = load_tensors(kFluxGolden + "forward/split_qkv_saved.safetensors");
  const auto expect_file = [&](double times_alpha_of_qkv) {
    const TensorMap file = flux::kohya_tensors(kohya_parts(trained, config, golden_flux()), golden_flux());
    ASSERT_EQ(file.size(), saved.size());
    for (const auto& [name, expected] : saved) {
      double factor = 1;
      if (ends_with(name, "_qkv.alpha")) factor = times_alpha_of_qkv;
      if (ends_with(name, "_linear1.alpha") && times_alpha_of_qkv > 1) factor = 4;
      EXPECT_LT(largest_error(file.at(name), expected * factor), 1e-6) << name;
    }
  };
  expect_file(3);
  config.options.split_qkv_alpha = SplitAlpha::kSdScripts;
  expect_file(1);

  // Both files are read as what was trained.
  for (const SplitAlpha alpha : {SplitAlpha::kExact, SplitAlpha::kSdScripts}) {
    config.options.split_qkv_alpha = options.split_qkv_alpha = alpha;
    const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "flux_objective_split.safetensors";
    save_tensors(path, flux::kohya_tensors(kohya_parts(trained, config, golden_flux()), golden_flux()));
    adapters_ = golden_adapters({}, options);
    adapters_->start_from(path);
    expect(golden_.at("variants").at("split_qkv"), {});
  }
  adapters_ = golden_adapters({}, options);
  EXPECT_THROW(adapters_->start_from(recorded_lora("plain")), ModelError);  // one pair for q, k and v
}

TEST_F(FluxObjectiveGolden, MaskedTextsHaveItsLossAndGradients) {
  batch_.text_lengths = {5, 3};
  expect_file("t5_mask");
}

TEST_F(FluxObjectiveGolden, PreservedSamplesHaveTheFrozenModelsOutputAsTheirTarget) {
  batch_.preserved_rows = {1};
  batch_.preserves_any = true;
  expect_file("diff_output_preservation");
  const FluxPrediction prediction = predict_velocity(*adapters_, batch_, draws_, {0, 2, {}}, Keep::kInputs, nullptr);
  const torch::Tensor frozen =
      load_tensors(kFluxGolden + "forward/diff_output_preservation.safetensors").at("pred_prior");
  EXPECT_LT(largest_error(prediction.target_BIC.slice(0, 1), frozen.view({1, 12, 64})), 2e-5);

  // Without such a row of its own, a rank runs the frozen model all the same, and its targets stay.
  batch_.preserved_rows.clear();
  expect(golden_.at("loss_variants_with_plain_lora").at("min_snr_gamma_noop"), {});
}

TEST_F(FluxObjectiveGolden, GuidanceIsAnInput) {
  expect(golden_.at("variants").at("guidance_3.5"), {.guidance_scale = 3.5});
}

TEST_F(FluxObjectiveGolden, InputNoiseMovesTheInputAlone) {
  const FluxObjective objective = {7, 2, {.ip_noise_gamma = 0.1}};
  const FluxDraws draws = draw_for(batch_, objective), plain = draw_for(batch_, {7, 2, {}});
  EXPECT_FALSE(plain.input_noise_BZhw.defined());
  EXPECT_TRUE(at::equal(draws.noise_BZhw, plain.noise_BZhw));
  // Its standard deviation over 1536 numbers is known to within 2 / sqrt(2 * 1536).
  EXPECT_NEAR(draws.input_noise_BZhw.std().item<double>(), 0.1, 0.1 * 3.7e-2);
  const FluxPrediction with = predict_velocity(*adapters_, batch_, draws, objective, Keep::kInputs, nullptr);
  const FluxPrediction without = predict_velocity(*adapters_, batch_, plain, objective, Keep::kInputs, nullptr);
  EXPECT_TRUE(at::equal(with.target_BIC, without.target_BIC));
  EXPECT_GT(largest_error(with.output_BIC, without.output_BIC), 1e-3);

  const FluxObjective random = {7, 2, {.ip_noise_gamma = 0.1, .ip_noise_gamma_random_strength = true}};
  const torch::Tensor part = draw_for(batch_, random).input_noise_BZhw / draws.input_noise_BZhw;
  for (int64_t i = 0; i < 2; ++i) {
    EXPECT_LT((part[i].max() - part[i].min()).item<double>(), 1e-5) << "one strength for each sample";
    EXPECT_GE(part[i].min().item<double>(), 0);
    EXPECT_LT(part[i].max().item<double>(), 1);
  }
}

}  // namespace
}  // namespace millrace
