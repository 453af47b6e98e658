#include "optim/lr_curves.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/number_text.h"

namespace millrace {
namespace {

double as_double(int64_t x) {
  return static_cast<double>(x);
}

double warmup_factor(int64_t step, const CurveSteps& steps) {
  return as_double(step) / as_double(std::max<int64_t>(1, steps.warmup));
}

double progress(int64_t step, const CurveSteps& steps) {
  return as_double(step - steps.warmup) / as_double(std::max<int64_t>(1, steps.total - steps.warmup));
}

double cosine(double progress, double cycles, double min_factor) {
  const double factor = 0.5 * (1 + std::cos(std::numbers::pi * cycles * 2 * progress));
  return std::max(0.0, factor * (1 - min_factor) + min_factor);
}

}  // namespace

double constant_factor(int64_t step, const CurveSteps& steps) {
  return step < steps.warmup ? warmup_factor(step, steps) : 1;
}

double linear_factor(int64_t step, const CurveSteps& steps) {
  if (step < steps.warmup) return warmup_factor(step, steps);
  return std::max(0.0, as_double(steps.total - step) / as_double(std::max<int64_t>(1, steps.total - steps.warmup)));
}

double cosine_factor(int64_t step, const CurveSteps& steps, double cycles, double min_factor) {
  if (step < steps.warmup) return warmup_factor(step, steps);
  return cosine(progress(step, steps), cycles, min_factor);
}

double cosine_with_restarts_factor(int64_t step, const CurveSteps& steps, double cycles) {
  if (step < steps.warmup) return warmup_factor(step, steps);
  const double p = progress(step, steps);
  if (p >= 1) return 0;
  return std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * std::fmod(cycles * p, 1.0))));
}

double polynomial_factor(int64_t step, const CurveSteps& steps, double power, double end_factor) {
  if (step < steps.warmup) return warmup_factor(step, steps);
  if (step > steps.total || steps.total == steps.warmup) return end_factor;
  const double remaining = 1 - as_double(step - steps.warmup) / as_double(steps.total - steps.warmup);
  return (1 - end_factor) * std::pow(remaining, power) + end_factor;
}

double inverse_sqrt_factor(int64_t step, const CurveSteps& steps, int64_t timescale) {
  if (step < steps.warmup) return warmup_factor(step, steps);
  return 1 / std::sqrt(as_double(step + timescale - steps.warmup) / as_double(timescale));
}

double warmup_stable_decay_factor(int64_t step, const CurveSteps& steps, int64_t decay_steps, double cycles,
                                  double min_factor) {
  if (step < steps.warmup) return warmup_factor(step, steps) * (1 - min_factor) + min_factor;
  const int64_t decay_begin = steps.total - decay_steps;
  if (step < decay_begin) return 1;
  if (step >= steps.total) return min_factor;
  return cosine(as_double(step - decay_begin) / as_double(std::max<int64_t>(1, decay_steps)), cycles, min_factor);
}

PiecewiseConstant::PiecewiseConstant(const std::string& step_rules) {
  const auto fail = [&] {
    throw ConfigError(
        str("[lr_scheduler.step_rules] expected FACTOR:STEP,FACTOR:STEP,...,FACTOR such as "
            "\"1:10,0.1:20,0.005\", got \"",
            step_rules, "\""));
  };
  const std::vector<std::string> rules = split(step_rules, ',');
  for (size_t i = 0; i < rules.size(); ++i) {
    const std::vector<std::string> parts = split(rules[i], ':');
    const bool is_last = i + 1 == rules.size();
    const auto factor = parse_floating_point(std::string(trim(parts.at(0))));
    if (!factor || !std::isfinite(*factor) || *factor < 0 || parts.size() != (is_last ? 1u : 2u)) fail();
    if (is_last) {
      last_ = *factor;
      break;
    }
    const auto end = parse_integer(std::string(trim(parts[1])));
    if (!end || *end < 0) fail();
    pieces_.push_back({*end, *factor});
  }
  if (rules.empty()) fail();
  std::stable_sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) { return a.end < b.end; });
}

double PiecewiseConstant::factor(int64_t step) const {
  for (const Piece& piece : pieces_) {
    if (step < piece.end) return piece.factor;
  }
  return last_;
}

}  // namespace millrace
