// How a flow is learnt: at which times, what the model is told beside them, and the loss: options of [objective].
//
// A parameter that the other choices do not read is None, so that one that is set without effect can be refused.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "config/option.h"
#include "config/problems.h"
#include "diffusion/element_loss.h"

namespace millrace {

enum class TimestepSampling { kUniform, kSigmoid, kShift, kFluxShift, kSigma };
constexpr std::array<Choice<TimestepSampling>, 5> choices_of(TimestepSampling) {
  return {{{"uniform", TimestepSampling::kUniform},
           {"sigmoid", TimestepSampling::kSigmoid},
           {"shift", TimestepSampling::kShift},
           {"flux_shift", TimestepSampling::kFluxShift},
           {"sigma", TimestepSampling::kSigma}}};
}

// Which times the sampling sigma draws more often (logit_normal, mode), or which samples weigh more with a sigma_scaled
// prediction (sigma_sqrt, cosmap).
enum class WeightingScheme { kNone, kLogitNormal, kMode, kSigmaSqrt, kCosmap };
constexpr std::array<Choice<WeightingScheme>, 5> choices_of(WeightingScheme) {
  return {{{"none", WeightingScheme::kNone},
           {"logit_normal", WeightingScheme::kLogitNormal},
           {"mode", WeightingScheme::kMode},
           {"sigma_sqrt", WeightingScheme::kSigmaSqrt},
           {"cosmap", WeightingScheme::kCosmap}}};
}

// What is compared with the velocity, by the model's output p at the noisy latent x_t: raw p, additive p + x_t,
// sigma_scaled x_t - sigma p.
enum class PredictionType { kRaw, kAdditive, kSigmaScaled };
constexpr std::array<Choice<PredictionType>, 3> choices_of(PredictionType) {
  return {{{"raw", PredictionType::kRaw},
           {"additive", PredictionType::kAdditive},
           {"sigma_scaled", PredictionType::kSigmaScaled}}};
}

constexpr std::array<Choice<LossType>, 4> choices_of(LossType) {
  return {
      {{"l2", LossType::kL2}, {"l1", LossType::kL1}, {"huber", LossType::kHuber}, {"smooth_l1", LossType::kSmoothL1}}};
}

constexpr std::array<Choice<HuberSchedule>, 2> choices_of(HuberSchedule) {
  return {{{"constant", HuberSchedule::kConstant}, {"exponential", HuberSchedule::kExponential}}};
}

struct FlowObjectiveConfig {
  TimestepSampling timestep_sampling = TimestepSampling::kUniform;
  std::optional<double> sigmoid_scale = {}, discrete_flow_shift = {};
  WeightingScheme weighting_scheme = WeightingScheme::kNone;
  std::optional<double> logit_mean = {}, logit_std = {}, mode_scale = {};
  std::optional<double> guidance_scale = {};
  PredictionType model_prediction_type = PredictionType::kRaw;
  LossType loss_type = LossType::kL2;
  HuberSchedule huber_schedule = HuberSchedule::kConstant;
  std::optional<double> huber_c = {}, huber_scale = {};
  std::optional<double> ip_noise_gamma = {};
  bool ip_noise_gamma_random_strength = false;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(timestep_sampling,
          {.name = "timestep_sampling",
           .meaning = "how training times are drawn: uniform; sigmoid of a normal number; shift: that, moved towards "
                      "noise; flux_shift: moved by as much as FLUX.1-dev moves its own for so many image tokens; "
                      "sigma: one of 1000 times, as weighting_scheme says"});
    visit(sigmoid_scale, {.name = "sigmoid_scale",
                          .meaning = "factor of the normal number of sigmoid, shift and flux_shift; None: 1",
                          .above = 0});
    visit(discrete_flow_shift, {.name = "discrete_flow_shift",
                                .meaning = "how far shift and sigma move times towards noise (1: not); None: 3",
                                .above = 0});
    visit(weighting_scheme, {.name = "weighting_scheme",
                             .meaning = "logit_normal, mode: which times sigma draws more often; sigma_sqrt, cosmap: "
                                        "which times weigh more with a sigma_scaled prediction"});
    visit(logit_mean, {.name = "logit_mean", .meaning = "mean of logit_normal's normal number; None: 0"});
    visit(logit_std,
          {.name = "logit_std", .meaning = "standard deviation of logit_normal's normal number; None: 1", .above = 0});
    visit(mode_scale, {.name = "mode_scale", .meaning = "strength of mode; None: 1.29"});
    visit(guidance_scale, {.name = "guidance_scale",
                           .meaning = "the distilled guidance that FLUX.1-dev is given while it trains; None: 1, or "
                                      "none for models without guidance_embed",
                           .at_least = 0});
    visit(model_prediction_type,
          {.name = "model_prediction_type",
           .meaning = "what is compared with the velocity: raw (the output), additive (the output plus the noisy "
                      "latent), sigma_scaled (the noisy latent minus t times the output); flow matching is raw"});
    visit(loss_type, {.name = "loss_type", .meaning = "the loss of each number of the latent"});
    visit(huber_schedule, {.name = "huber_schedule",
                           .meaning = "where huber and smooth_l1 turn from squared to linear: at huber_c, or falling "
                                      "exponentially from 1 at t = 0 to huber_c at t = 1"});
    visit(huber_c, {.name = "huber_c", .meaning = "the difference at which they turn; None: 0.1", .above = 0});
    visit(huber_scale, {.name = "huber_scale", .meaning = "factor on huber_c and its schedule; None: 1", .above = 0});
    visit(ip_noise_gamma, {.name = "ip_noise_gamma",
                           .meaning = "more noise on the model's input, which the target does not know of; None: none",
                           .above = 0});
    visit(ip_noise_gamma_random_strength, {.name = "ip_noise_gamma_random_strength",
                                           .meaning = "each sample has a part of ip_noise_gamma, drawn from 0 to 1"});
  }
  bool operator==(const FlowObjectiveConfig&) const = default;
};

// Adds a problem for every parameter that is set although nothing reads it.
void check_flow_objective(const FlowObjectiveConfig& objective, Problems& problems);

}  // namespace millrace
