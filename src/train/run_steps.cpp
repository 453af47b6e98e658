#include "train/run_steps.h"

#include "base/error.h"
#include "base/log.h"
#include "config/optimizer_rules.h"
#include "optim/lr_schedule_table.h"

namespace millrace {

LrSchedule make_schedule(const RunConfig& config) {
  const double base_lr = with_rule_defaults(config.optimizer).lr.value_or(1);
  return make_lr_schedule(config.lr_scheduler, config.training.steps, base_lr);
}

int64_t microbatches_per_step(const TrainingConfig& training, int64_t data_size) {
  if (training.global_batch_size < 0) return 1;
  const int64_t microbatch = training.local_batch_size * data_size;
  if (training.global_batch_size == 0 || training.global_batch_size % microbatch != 0) {
    throw ConfigError(str("[training.global_batch_size] expected a multiple of local_batch_size ",
                          training.local_batch_size, data_size > 1 ? str(" times ", data_size, " data ranks") : "",
                          ", got ", training.global_batch_size));
  }
  return training.global_batch_size / microbatch;
}

int64_t validation_interval(const ValidationConfig& validation, int64_t samples_per_step) {
  if (validation.freq_samples <= 0) return validation.freq;
  return (validation.freq_samples + samples_per_step - 1) / samples_per_step;
}

}  // namespace millrace
