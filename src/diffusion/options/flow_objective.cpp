#include "diffusion/options/flow_objective.h"

#include "base/log.h"

namespace millrace {
namespace {

// What the timestep sampling reads.
void check_sampling(const FlowObjectiveConfig& objective, Problems& problems) {
  const TimestepSampling sampling = objective.timestep_sampling;
  const std::string given = str(", got timestep_sampling = \"", choice_text(sampling), "\"");
  if (objective.sigmoid_scale && (sampling == TimestepSampling::kUniform || sampling == TimestepSampling::kSigma)) {
    problems.add("objective.sigmoid_scale", "expected sigmoid, shift or flux_shift with it" + given);
  }
  if (objective.discrete_flow_shift && sampling != TimestepSampling::kShift && sampling != TimestepSampling::kSigma) {
    problems.add("objective.discrete_flow_shift", "expected shift or sigma with it" + given);
  }
}

void check_weighting(const FlowObjectiveConfig& objective, Problems& problems) {
  const WeightingScheme weighting = objective.weighting_scheme;
  const bool draws = weighting == WeightingScheme::kLogitNormal || weighting == WeightingScheme::kMode;
  const bool weighs = weighting == WeightingScheme::kSigmaSqrt || weighting == WeightingScheme::kCosmap;
  const std::string scheme = str(", got weighting_scheme = \"", choice_text(weighting), "\"");
  if (draws && objective.timestep_sampling != TimestepSampling::kSigma) {
    problems.add("objective.weighting_scheme",
                 str("expected timestep_sampling = \"sigma\" with ", choice_text(weighting), ", got \"",
                     choice_text(objective.timestep_sampling), "\""));
  }
  if (weighs && objective.model_prediction_type != PredictionType::kSigmaScaled) {
    problems.add("objective.weighting_scheme",
                 str("expected model_prediction_type = \"sigma_scaled\" with ", choice_text(weighting), ", got \"",
                     choice_text(objective.model_prediction_type), "\""));
  }
  if ((objective.logit_mean || objective.logit_std) && weighting != WeightingScheme::kLogitNormal) {
    problems.add(objective.logit_mean ? "objective.logit_mean" : "objective.logit_std",
                 "expected logit_normal with it" + scheme);
  }
  if (objective.mode_scale && weighting != WeightingScheme::kMode) {
    problems.add("objective.mode_scale", "expected mode with it" + scheme);
  }
}

void check_loss(const FlowObjectiveConfig& objective, Problems& problems) {
  const std::string loss = str(", got loss_type = \"", choice_text(objective.loss_type), "\"");
  const bool turns = objective.loss_type == LossType::kHuber || objective.loss_type == LossType::kSmoothL1;
  const auto expect = [&](bool is_set, const char* name) {
    if (is_set && !turns) problems.add(str("objective.", name), "expected huber or smooth_l1 with it" + loss);
  };
  expect(objective.huber_c.has_value(), "huber_c");
  expect(objective.huber_scale.has_value(), "huber_scale");
  expect(objective.huber_schedule != HuberSchedule::kConstant, "huber_schedule");
  if (objective.ip_noise_gamma_random_strength && !objective.ip_noise_gamma) {
    problems.add("objective.ip_noise_gamma_random_strength", "expected ip_noise_gamma with it, got None");
  }
}

}  // namespace

void check_flow_objective(const FlowObjectiveConfig& objective, Problems& problems) {
  check_sampling(objective, problems);
  check_weighting(objective, problems);
  check_loss(objective, problems);
}

}  // namespace millrace
