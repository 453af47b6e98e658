// torchtitan's learning rate over a run: linear warm-up, a stable stretch, then decay.
//
// The same numbers as torchtitan's build_lr_schedulers under torch's LambdaLR (torchtitan/components/lr_scheduler.py),
// so that a run moved here keeps its learning rates.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace millrace {

enum class DecayType { kLinear, kSqrt, kCosine };
DecayType parse_decay_type(std::string_view text);  // "linear", "sqrt", "cosine"; throws ConfigError

struct TorchtitanScheduleOptions {
  int64_t total_steps = 0;
  int64_t warmup_steps = 0;  // cut to total_steps
  // The fraction of all steps over which the rate decays: 0 never decays, 1 decays after the warm-up; not set: all
  // steps after the warm-up.
  std::optional<double> decay_ratio = std::nullopt;
  DecayType decay_type = DecayType::kLinear;
  double min_lr_factor = 0;  // the factor at the end of the decay
};

class TorchtitanSchedule {
 public:
  // Throws ConfigError for a negative count, or a ratio or factor outside [0, 1]; warns when stretches are shortened.
  explicit TorchtitanSchedule(const TorchtitanScheduleOptions& options);

  // The factor of the base learning rate in step number `step`, counted from 0.
  double factor(int64_t step) const;

  int64_t warmup_steps() const { return warmup_steps_; }
  int64_t stable_steps() const { return stable_steps_; }
  int64_t decay_steps() const { return decay_steps_; }

 private:
  DecayType decay_type_;
  double min_lr_factor_;
  int64_t warmup_steps_, stable_steps_, decay_steps_;
};

}  // namespace millrace
