// Every learning-rate schedule by its name in [lr_scheduler]. config/lr_schedule_rules.h lists the options of
// each.
#pragma once

#include <cstdint>

#include "config/sections/optimizer.h"
#include "optim/lr_schedule.h"

namespace millrace {

// total_steps: of the run; overridden by config.total_steps if set. base_lr: the rate for a factor of 1.
// Throws ConfigError for an unknown name, an option that the schedule does not have, or one outside its range.
LrSchedule make_lr_schedule(const LrSchedulerConfig& config, int64_t total_steps, double base_lr);

}  // namespace millrace
