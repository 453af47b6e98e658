// The steps after which a run validates, saves and ends.
#pragma once

#include <cstdint>
#include <optional>

#include "config/run_config.h"

namespace millrace {

// Steps count from 1; a question about step n is about the moment after it.
struct Cadence {
  int64_t steps = 0;                // of the whole run
  int64_t validation_interval = 0;  // steps; 0: the run does not validate
  int64_t checkpoint_interval = 1;  // steps
  double target_loss = 0;           // of a validation; 0: none

  bool is_last(int64_t step) const { return step == steps; }
  bool validates(int64_t step) const {
    return validation_interval > 0 && (is_last(step) || step % validation_interval == 0);
  }
  // While training continues; after the last step a run saves regardless of the interval.
  bool saves(int64_t step) const { return step % checkpoint_interval == 0; }
  // validation_loss: of the current weights; unset if they were not validated.
  bool reaches_target(const std::optional<double>& validation_loss) const {
    return target_loss > 0 && validation_loss && *validation_loss <= target_loss;
  }
};

Cadence make_cadence(const RunConfig& config, int64_t samples_per_step);

}  // namespace millrace
