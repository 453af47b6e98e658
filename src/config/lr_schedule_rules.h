// The learning-rate schedules that [lr_scheduler] name chooses from, as data: which options each one has.
// optim/lr_schedule_table.h says what each one does.
#pragma once

#include <string>
#include <vector>

#include "config/problems.h"
#include "config/sections/optimizer.h"

namespace millrace {

struct LrScheduleRule {
  const char* name;
  std::vector<const char*> options;  // of [lr_scheduler], besides total_steps, which all have
};

const std::vector<LrScheduleRule>& lr_schedule_rules();

// Adds a problem for every option that is set but that the chosen schedule does not have, naming those that have it.
void check_lr_schedule(const LrSchedulerConfig& config, Problems& problems);

// The same with what is not set in its place. Throws ConfigError for what check_lr_schedule() finds.
LrSchedulerConfig with_schedule_defaults(LrSchedulerConfig config);

}  // namespace millrace
