// At which times a flow is learnt, and what the model is told beside them: options of [objective].
//
// A parameter that the sampling does not read is None, so that one that is set without effect can be refused.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "config/option.h"
#include "config/problems.h"

namespace millrace {

enum class TimestepSampling { kUniform, kSigmoid, kShift, kFluxShift, kSigma };
constexpr std::array<Choice<TimestepSampling>, 5> choices_of(TimestepSampling) {
  return {{{"uniform", TimestepSampling::kUniform},
           {"sigmoid", TimestepSampling::kSigmoid},
           {"shift", TimestepSampling::kShift},
           {"flux_shift", TimestepSampling::kFluxShift},
           {"sigma", TimestepSampling::kSigma}}};
}

enum class TimestepWeighting { kNone, kLogitNormal, kMode };
constexpr std::array<Choice<TimestepWeighting>, 3> choices_of(TimestepWeighting) {
  return {{{"none", TimestepWeighting::kNone},
           {"logit_normal", TimestepWeighting::kLogitNormal},
           {"mode", TimestepWeighting::kMode}}};
}

struct FlowObjectiveConfig {
  TimestepSampling timestep_sampling = TimestepSampling::kUniform;
  std::optional<double> sigmoid_scale = {}, discrete_flow_shift = {};
  TimestepWeighting weighting_scheme = TimestepWeighting::kNone;
  std::optional<double> logit_mean = {}, logit_std = {}, mode_scale = {};
  double guidance_scale = 1;

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
    visit(weighting_scheme, {.name = "weighting_scheme", .meaning = "which times sigma draws more often"});
    visit(logit_mean, {.name = "logit_mean", .meaning = "mean of logit_normal's normal number; None: 0"});
    visit(logit_std,
          {.name = "logit_std", .meaning = "standard deviation of logit_normal's normal number; None: 1", .above = 0});
    visit(mode_scale, {.name = "mode_scale", .meaning = "strength of mode; None: 1.29"});
    visit(guidance_scale, {.name = "guidance_scale",
                           .meaning = "the distilled guidance that FLUX.1-dev is given while it trains; models "
                                      "without guidance_embed take none",
                           .at_least = 0});
  }
  bool operator==(const FlowObjectiveConfig&) const = default;
};

// Adds a problem for every parameter that is set although the sampling does not read it.
void check_flow_objective(const FlowObjectiveConfig& objective, Problems& problems);

}  // namespace millrace
