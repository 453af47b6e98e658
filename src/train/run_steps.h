// Numbers of steps and microbatches that follow from a configuration.
#pragma once

#include <cstdint>

#include "config/run_config.h"
#include "optim/lr_schedule.h"

namespace millrace {

LrSchedule make_schedule(const RunConfig& config);

// Throws ConfigError unless training.global_batch_size is a multiple of the samples that data_size ranks process at a
// time.
int64_t microbatches_per_step(const TrainingConfig& training, int64_t data_size);

// Steps between two validations: validation.freq, or validation.freq_samples rounded up to whole steps.
int64_t validation_interval(const ValidationConfig& validation, int64_t samples_per_step);

}  // namespace millrace
