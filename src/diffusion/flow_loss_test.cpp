// Losses, what is compared, and how samples weigh: as sd-scripts computes them (tests/golden/flux_lora/noise).
#include "diffusion/flow_loss.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "diffusion/flux_golden_test_support.h"
#include "diffusion/latents.h"
#include "formats/json.h"

namespace millrace {
namespace {

const nlohmann::json& golden() {
  static const nlohmann::json json = parse_json<DataError>(read_file(kFluxGolden + "noise/small.json"), "small.json");
  return json;
}
const TensorMap& tensors() {
  static const TensorMap loaded = load_tensors(kFluxGolden + "noise/small.safetensors");
  return loaded;
}

torch::Tensor packed(const char* name) {
  return pack_patches(tensors().at(name), 2);
}

torch::Tensor times() {
  return torch::tensor(golden().at("timesteps_of_the_loss_cases").get<std::vector<float>>()) / 1000;
}

void expect_losses(const std::string& name, const FlowObjectiveConfig& objective) {
  const torch::Tensor output = packed("model_pred"), noisy = packed("sigmoid_fp32.noisy"), t_B = times();
  const torch::Tensor prediction = prediction_of(objective.model_prediction_type, output, noisy, t_B);
  const FlowLoss loss =
      flow_loss(objective, prediction, pack_patches(tensors().at("noise") - tensors().at("latents"), 2), t_B,
                /*weight=*/0.5, torch::kFloat32);
  const torch::Tensor expected =
      torch::tensor(golden().at("cases").at(name).at("per_sample").get<std::vector<float>>());
  EXPECT_LT(largest_error(loss.per_sample_B, expected), 1e-5) << name;
}

TEST(FlowLoss, OfEveryTypeIsThatOfTheReference) {
  expect_losses("loss_type.l2.-.c0.1.s1.0", {});
  expect_losses("loss_type.l1.-.c0.1.s1.0", {.loss_type = LossType::kL1});
  for (const auto& [type, name] : {std::pair{LossType::kHuber, "huber"}, std::pair{LossType::kSmoothL1, "smooth_l1"}}) {
    for (const auto& [schedule, text] :
         {std::pair{HuberSchedule::kConstant, "constant"}, std::pair{HuberSchedule::kExponential, "exponential"}}) {
      const std::string prefix = std::string("loss_type.") + name + "." + text;
      expect_losses(prefix + ".c0.1.s1.0", {.loss_type = type, .huber_schedule = schedule});
      expect_losses(prefix + ".c0.4.s2.0",
                    {.loss_type = type, .huber_schedule = schedule, .huber_c = 0.4, .huber_scale = 2});
    }
  }
}

TEST(FlowLoss, OfEveryPredictionIsThatOfTheReference) {
  using enum PredictionType;
  expect_losses("loss.raw.none", {});
  expect_losses("loss.additive.none", {.model_prediction_type = kAdditive});
  expect_losses("loss.sigma_scaled.none", {.model_prediction_type = kSigmaScaled});
  expect_losses("loss.sigma_scaled.sigma_sqrt",
                {.weighting_scheme = WeightingScheme::kSigmaSqrt, .model_prediction_type = kSigmaScaled});
  expect_losses("loss.sigma_scaled.cosmap",
                {.weighting_scheme = WeightingScheme::kCosmap, .model_prediction_type = kSigmaScaled});
}

TEST(FlowLoss, PredictionsAreThoseOfTheReference) {
  const torch::Tensor output = packed("model_pred"), noisy = packed("sigmoid_fp32.noisy"), t_B = times();
  for (const auto& [type, name] :
       {std::pair{PredictionType::kRaw, "pred.raw"}, std::pair{PredictionType::kAdditive, "pred.additive"},
        std::pair{PredictionType::kSigmaScaled, "pred.sigma_scaled"}}) {
    EXPECT_LT(largest_error(prediction_of(type, output, noisy, t_B), packed(name)), 1e-6) << name;
  }
}

// Against autograd through the same losses.
TEST(FlowLoss, GradientIsThatOfTheLoss) {
  using enum PredictionType;
  const torch::Tensor noisy = packed("sigmoid_fp32.noisy"), t_B = times(), target = torch::zeros_like(noisy);
  for (const FlowObjectiveConfig& objective :
       {FlowObjectiveConfig{.loss_type = LossType::kL1}, FlowObjectiveConfig{.loss_type = LossType::kHuber},
        FlowObjectiveConfig{.model_prediction_type = kAdditive},
        FlowObjectiveConfig{.model_prediction_type = kAdditive, .loss_type = LossType::kSmoothL1},
        FlowObjectiveConfig{.model_prediction_type = kSigmaScaled, .loss_type = LossType::kHuber}}) {
    const torch::Tensor output = packed("model_pred").clone().set_requires_grad(true);
    const torch::Tensor prediction = prediction_of(objective.model_prediction_type, output, noisy, t_B);
    const torch::Tensor values = element_loss(objective.loss_type, prediction - target, torch::tensor(0.1F)).values;
    (values.flatten(1).mean(1).sum() * 0.5).backward();
    const FlowLoss loss = flow_loss(objective, prediction.detach(), target, t_B, 0.5, torch::kFloat32);
    EXPECT_LT(largest_error(loss.doutput_BIC, output.grad()), 1e-5);
  }
}

TEST(FlowObjective, WhatHasNoEffectIsRefused) {
  const auto problems = [](const FlowObjectiveConfig& objective) {
    Problems found;
    check_flow_objective(objective, found);
    return !found.empty();
  };
  using enum LossType;
  EXPECT_TRUE(problems({.huber_c = 0.2}));
  EXPECT_TRUE(problems({.loss_type = kL1, .huber_scale = 2}));
  EXPECT_TRUE(problems({.huber_schedule = HuberSchedule::kExponential}));
  EXPECT_FALSE(problems({.loss_type = kHuber, .huber_schedule = HuberSchedule::kExponential, .huber_c = 0.2}));
  EXPECT_TRUE(problems({.weighting_scheme = WeightingScheme::kCosmap}));
  EXPECT_FALSE(
      problems({.weighting_scheme = WeightingScheme::kCosmap, .model_prediction_type = PredictionType::kSigmaScaled}));
  EXPECT_TRUE(problems({.ip_noise_gamma_random_strength = true}));
  EXPECT_FALSE(problems({.ip_noise_gamma = 0.1, .ip_noise_gamma_random_strength = true}));
}

}  // namespace
}  // namespace millrace
