#include "diffusion/element_loss.h"

#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

template <typename Value, size_t kCount>
Value parse_name(const std::pair<const char*, Value> (&names)[kCount], const std::string& name,
                 const std::string& option) {
  std::vector<std::string> known;
  for (const auto& [text, value] : names) {
    if (name == text) return value;
    known.emplace_back(text);
  }
  const std::string near = nearest(name, known);
  throw ConfigError("[" + option + "] expected one of " + join(known, ", ") + ", got \"" + json_escape(name) + "\"" +
                    (near.empty() ? "" : " (try " + near + ")"));
}

constexpr std::pair<const char*, LossType> kLosses[] = {
    {"l2", LossType::kL2}, {"l1", LossType::kL1}, {"huber", LossType::kHuber}, {"smooth_l1", LossType::kSmoothL1}};
constexpr std::pair<const char*, HuberSchedule> kHuberSchedules[] = {{"constant", HuberSchedule::kConstant},
                                                                     {"exponential", HuberSchedule::kExponential}};
constexpr std::pair<const char*, LossWeighting> kWeightings[] = {
    {"none", LossWeighting::kNone}, {"uniform", LossWeighting::kNone},  {"logit_normal", LossWeighting::kNone},
    {"mode", LossWeighting::kNone}, {"cosmap", LossWeighting::kCosmap}, {"sigma_sqrt", LossWeighting::kSigmaSqrt}};

}  // namespace

LossType parse_loss_type(const std::string& name, const std::string& option) {
  return parse_name(kLosses, name, option);
}

HuberSchedule parse_huber_schedule(const std::string& name, const std::string& option) {
  return parse_name(kHuberSchedules, name, option);
}

LossWeighting parse_loss_weighting(const std::string& name, const std::string& option) {
  return parse_name(kWeightings, name, option);
}

double huber_threshold(HuberSchedule schedule, double huber_c, double huber_scale, double timestep) {
  if (schedule == HuberSchedule::kConstant) return huber_c * huber_scale;
  return std::exp(std::log(huber_c) * timestep / 1000) * huber_scale;
}

ElementLoss element_loss(LossType type, double difference, double threshold) {
  switch (type) {
    case LossType::kL2:
      return {difference * difference, 2 * difference};
    case LossType::kL1:
      return {std::abs(difference), difference > 0 ? 1.0 : difference < 0 ? -1.0 : 0.0};
    case LossType::kHuber:
    case LossType::kSmoothL1:
      break;
  }
  const double factor = type == LossType::kHuber ? 2 * threshold : 2;
  const double root = std::sqrt(difference * difference + threshold * threshold);
  return {factor * (root - threshold), root == 0 ? 0 : factor * difference / root};
}

double loss_weight(LossWeighting weighting, double sigma) {
  switch (weighting) {
    case LossWeighting::kSigmaSqrt:
      return 1 / (sigma * sigma);
    case LossWeighting::kCosmap:
      return 2 / (std::numbers::pi * (1 - 2 * sigma + 2 * sigma * sigma));
    case LossWeighting::kNone:
      break;
  }
  return 1;
}

}  // namespace millrace
