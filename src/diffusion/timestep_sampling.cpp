#include "diffusion/timestep_sampling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/log.h"

namespace millrace {
namespace {

constexpr double kDefaultShift = 3.0;
constexpr double kDefaultModeScale = 1.29;
constexpr double kTableSize = 1000;

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

double shifted(double t, double shift) {
  return shift * t / (1 + (shift - 1) * t);
}

// Where in the table of times, as a part of it.
double weighted(const FlowObjectiveConfig& objective, const RandomNumber& number) {
  const double u = number.uniform;
  switch (objective.weighting_scheme) {
    case WeightingScheme::kNone:
    case WeightingScheme::kSigmaSqrt:
    case WeightingScheme::kCosmap:
      return u;
    case WeightingScheme::kLogitNormal:
      return sigmoid(objective.logit_mean.value_or(0) + objective.logit_std.value_or(1) * number.normal);
    case WeightingScheme::kMode: {
      const double cosine = std::cos(std::numbers::pi * u / 2);
      return 1 - u - objective.mode_scale.value_or(kDefaultModeScale) * (cosine * cosine - 1 + u);
    }
  }
  return u;
}

}  // namespace

double flux_shift_mu(int64_t image_tokens) {
  return 0.5 + (1.15 - 0.5) * (static_cast<double>(image_tokens) - 256) / (4096 - 256);
}

bool reads_offset(TimestepSampling sampling) {
  return sampling != TimestepSampling::kUniform && sampling != TimestepSampling::kSigma;
}

double sample_time(const FlowObjectiveConfig& objective, const RandomNumber& number, int64_t image_tokens,
                   double offset) {
  const double v = sigmoid(objective.sigmoid_scale.value_or(1) * (number.normal + offset));
  const double shift = objective.discrete_flow_shift.value_or(kDefaultShift);
  switch (objective.timestep_sampling) {
    case TimestepSampling::kUniform:
      return number.uniform;
    case TimestepSampling::kSigmoid:
      return v;
    case TimestepSampling::kShift:
      return shifted(v, shift);
    case TimestepSampling::kFluxShift: {
      const double e = std::exp(flux_shift_mu(image_tokens));
      return e / (e + 1 / v - 1);
    }
    case TimestepSampling::kSigma: {
      // mode leaves [0, 1) for large scales: the ends of the table then take what lies beyond.
      const double index = std::clamp(std::floor(kTableSize * weighted(objective, number)), 0.0, kTableSize - 1);
      return shifted((kTableSize - index) / kTableSize, shift);
    }
  }
  return number.uniform;
}

std::vector<float> sample_times(const FlowObjectiveConfig& objective, const std::vector<RandomStream>& streams,
                                int64_t image_tokens, const std::vector<double>& offsets) {
  std::vector<float> times;
  for (size_t i = 0; i < streams.size(); ++i) {
    const RandomNumber number{random_uniform(streams[i], 0), random_normal(streams[i], 0)};
    const double offset = offsets.empty() ? 0 : offsets.at(i);
    times.push_back(static_cast<float>(sample_time(objective, number, image_tokens, offset)));
  }
  return times;
}

}  // namespace millrace
