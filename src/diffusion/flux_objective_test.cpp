// A step of LoRA as a task computes it, against sd-scripts' losses and gradient norms (tests/golden/flux_lora/forward).
#include "diffusion/flux_objective.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "diffusion/flux_golden_test_support.h"
#include "formats/json.h"

namespace millrace {
namespace {

constexpr double kShift = 3.1582;

class FluxObjectiveGolden : public testing::Test {
 protected:
  FluxObjectiveGolden() {
    // The recorded LoRA as a file of kohya's.
    TensorMap lora;
    for (const auto& [name, tensor] : load_tensors(kFluxGolden + "forward/plain.safetensors")) {
      if (!starts_with(name, "lora.")) continue;
      lora[name.substr(5)] = tensor;
      if (ends_with(name, ".lora_down.weight")) {
        lora[name.substr(5, name.size() - 5 - 17) + ".alpha"] = torch::tensor(2.0F);
      }
    }
    const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "flux_objective_lora.safetensors";
    save_tensors(file, lora);
    adapters_ = golden_adapters();
    adapters_->start_from(file);

    const TensorMap given = load_tensors(kFluxGolden + "forward/inputs.safetensors");
    const torch::Tensor v = torch::sigmoid(given.at("raw_normal"));
    batch_ = golden_batch(given.at("latents"), given.at("t5_out"), given.at("clip_pooled"));
    draws_ = {given.at("noise"), kShift * v / (1 + (kShift - 1) * v), {}};
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
