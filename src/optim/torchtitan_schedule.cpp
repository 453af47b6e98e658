#include "optim/torchtitan_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

void require(bool good, const char* key, const char* expected, double got) {
  if (!good) throw ConfigError(str("[", key, "] expected ", expected, ", got ", got));
}

double decay_curve(DecayType type, double progress) {
  switch (type) {
    case DecayType::kLinear:
      return 1 - progress;
    case DecayType::kSqrt:
      return 1 - std::sqrt(progress);
    case DecayType::kCosine:
      return 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  }
  return 1;
}

}  // namespace

DecayType parse_decay_type(std::string_view text) {
  if (text == "linear") return DecayType::kLinear;
  if (text == "sqrt") return DecayType::kSqrt;
  if (text == "cosine") return DecayType::kCosine;
  const std::string near = nearest(text, {"linear", "sqrt", "cosine"});
  throw ConfigError(str("[lr_scheduler.decay_type] expected linear, sqrt or cosine, got \"", text, "\"",
                        near.empty() ? "" : " (try " + near + ")"));
}

TorchtitanSchedule::TorchtitanSchedule(const TorchtitanScheduleOptions& options)
    : decay_type_(options.decay_type), min_lr_factor_(options.min_lr_factor), warmup_steps_(options.warmup_steps) {
  const int64_t steps = options.total_steps;
  require(steps >= 0, "training.steps", "0 or more", static_cast<double>(steps));
  require(warmup_steps_ >= 0, "lr_scheduler.warmup_steps", "0 or more", static_cast<double>(warmup_steps_));
  require(min_lr_factor_ >= 0 && min_lr_factor_ <= 1, "lr_scheduler.min_lr_factor", "0 to 1", min_lr_factor_);
  if (warmup_steps_ > steps) {
    log_warning("[lr_scheduler.warmup_steps] ", warmup_steps_, " is more than all ", steps, " steps; warming up for ",
                steps);
    warmup_steps_ = steps;
  }
  decay_steps_ = steps - warmup_steps_;
  if (options.decay_ratio) {
    const double ratio = *options.decay_ratio;
    require(ratio >= 0 && ratio <= 1, "lr_scheduler.decay_ratio", "0 to 1", ratio);
    // nearbyint rounds half to even, like Python's round.
    const auto wanted = static_cast<int64_t>(std::nearbyint(static_cast<double>(steps) * ratio));
    if (wanted > decay_steps_) {
      log_warning("[lr_scheduler.decay_ratio] ", warmup_steps_, " warm-up and ", wanted, " decay steps are more than ",
                  steps, " steps; decaying for ", decay_steps_);
    }
    decay_steps_ = std::min(decay_steps_, wanted);
  }
  // The decay ends one step after the last, so that no step is taken with a factor of 0.
  stable_steps_ = steps + 1 - warmup_steps_ - decay_steps_;
}

double TorchtitanSchedule::factor(int64_t step) const {
  if (step < warmup_steps_) return static_cast<double>(step + 1) / static_cast<double>(warmup_steps_);
  const int64_t decay_begin = warmup_steps_ + stable_steps_;
  if (step < decay_begin || decay_steps_ == 0) return 1;
  const double progress = static_cast<double>(step + 1 - decay_begin) / static_cast<double>(decay_steps_);
  return min_lr_factor_ + (1 - min_lr_factor_) * decay_curve(decay_type_, std::min(progress, 1.0));
}

}  // namespace millrace
