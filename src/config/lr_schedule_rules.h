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
  std::vector<const char*> options;  // of [lr_scheduler], besides total_steps, which every schedule has
};

const std::vector<LrScheduleRule>& lr_schedule_rules();

// Adds a problem for every option that is set but not one of the chosen schedule's, naming the schedules that have it.
void check_lr_schedule(const LrSchedulerConfig& config, Problems& problems);

// A copy in which unset options have their defaults. Throws ConfigError for problems that check_lr_schedule() finds.
LrSchedulerConfig with_schedule_defaults(LrSchedulerConfig config);

}  // namespace millrace
