// Every learning-rate schedule by its name, as [lr_scheduler] name has it. Which options each one has is in
// config/lr_schedule_rules.h.
#pragma once

#include <cstdint>

#include "config/sections/optimizer.h"
#include "optim/lr_schedule.h"

namespace millrace {

// total_steps: of the run; config.total_steps counts in its place where it is set. base_lr: what a factor of 1 stands
// for. Throws ConfigError for an unknown name, an option that the schedule does not have, or one outside its range.
LrSchedule make_lr_schedule(const LrSchedulerConfig& config, int64_t total_steps, double base_lr);

}  // namespace millrace
