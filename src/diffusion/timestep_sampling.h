// At which times a flow is learnt: the samplings of kohya-ss/sd-scripts (library/flux_train_utils.py), as pure
// functions of one random number.
#pragma once

#include <cstdint>
#include <vector>

#include "base/philox.h"
#include "diffusion/options/flow_objective.h"

namespace millrace {

// mu of FLUX.1-dev for so many image tokens: the line through (256, 0.5) and (4096, 1.15), without bounds.
double flux_shift_mu(int64_t image_tokens);

// What a sampling reads: one of the two.
struct RandomNumber {
  double uniform = 0;  // [0, 1)
  double normal = 0;
};

// The time in [0, 1], 1 is noise, with v = sigmoid(sigmoid_scale (normal + offset)):
//   uniform     u
//   sigmoid     v
//   shift       S v / (1 + (S - 1) v), with S = discrete_flow_shift
//   flux_shift  e^mu / (e^mu + 1 / v - 1)
//   sigma       S s / (1 + (S - 1) s), s = (1000 - i) / 1000, i = floor(1000 w), with w by weighting_scheme:
//                 none u; logit_normal sigmoid(mean + std normal); mode 1 - u - scale (cos^2(pi u / 2) - 1 + u)
double sample_time(const FlowObjectiveConfig& objective, const RandomNumber& number, int64_t image_tokens,
                   double offset = 0);
bool reads_offset(TimestepSampling sampling);

// The times of samples, each from its own stream. offsets: one for each sample; empty: 0.
std::vector<float> sample_times(const FlowObjectiveConfig& objective, const std::vector<RandomStream>& streams,
                                int64_t image_tokens, const std::vector<double>& offsets = {});

}  // namespace millrace
