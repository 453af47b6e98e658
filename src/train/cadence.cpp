#include "train/cadence.h"

#include "train/run_steps.h"

namespace millrace {

Cadence make_cadence(const RunConfig& config, int64_t samples_per_step) {
  Cadence cadence;
  cadence.steps = config.training.steps;
  cadence.checkpoint_interval = config.checkpoint.interval;
  if (config.validation.enable) {
    cadence.validation_interval = validation_interval(config.validation, samples_per_step);
    cadence.target_loss = config.validation.target_loss;
  }
  return cadence;
}

}  // namespace millrace
