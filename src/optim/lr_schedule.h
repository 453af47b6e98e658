// The learning rate over a run, as a factor of the base rate for every step, and the momentum where a schedule moves
// it, too.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

namespace millrace {

class LrSchedule {
 public:
  // factor: for step number `step`, counted from 0; also for steps beyond the run.
  LrSchedule(int64_t warmup_steps, std::function<double(int64_t step)> factor,
             std::function<double(int64_t step)> momentum = {})
      : warmup_steps_(warmup_steps), factor_(std::move(factor)), momentum_(std::move(momentum)) {}

  double factor(int64_t step) const { return factor_(step); }
  // For Optimizer::set_momentum(); nullopt: the optimizer keeps its own.
  std::optional<double> momentum(int64_t step) const {
    return momentum_ ? std::optional(momentum_(step)) : std::nullopt;
  }
  int64_t warmup_steps() const { return warmup_steps_; }

 private:
  int64_t warmup_steps_;
  std::function<double(int64_t)> factor_, momentum_;
};

}  // namespace millrace
