// The learning rate over a run, as a factor of the base rate for every step.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

namespace millrace {

class LrSchedule {
 public:
  // factor: for step number `step`, counted from 0; also for steps beyond the run.
  LrSchedule(int64_t warmup_steps, std::function<double(int64_t step)> factor)
      : warmup_steps_(warmup_steps), factor_(std::move(factor)) {}

  double factor(int64_t step) const { return factor_(step); }
  int64_t warmup_steps() const { return warmup_steps_; }

 private:
  int64_t warmup_steps_;
  std::function<double(int64_t)> factor_;
};

}  // namespace millrace
