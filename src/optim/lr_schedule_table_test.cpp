#include "optim/lr_schedule_table.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/log.h"
#include "config/lr_schedule_rules.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

LrSchedulerConfig config_of(const std::string& name) {
  LrSchedulerConfig config;
  config.name = name;
  if (name == "piecewise_constant") config.step_rules = "1:3,0.5";
  if (name == "StepLR") config.step_size = 7;
  if (name == "MultiStepLR") config.milestones = {3, 50};
  if (name == "ExponentialLR") config.gamma = 0.9;
  return config;
}

std::string problem_with(const LrSchedulerConfig& config) {
  try {
    make_lr_schedule(config, 100, 1e-3);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(LrScheduleTable, MakesEveryScheduleOfTheConfiguration) {
  for (const LrScheduleRule& rule : lr_schedule_rules()) {
    const LrSchedule schedule = make_lr_schedule(config_of(rule.name), 100, 1e-3);
    for (int64_t step = 0; step < 120; ++step) {
      EXPECT_GE(schedule.factor(step), 0) << rule.name;
      EXPECT_LE(schedule.factor(step), 1) << rule.name;
    }
  }
}

TEST(LrScheduleTable, TakesWarmUpsAsStepsAndAsParts) {
  LrSchedulerConfig config = config_of("linear");
  EXPECT_EQ(make_lr_schedule(config, 100, 1).warmup_steps(), 0);
  config.warmup_steps = StepsOrPart{.steps = 7};
  EXPECT_EQ(make_lr_schedule(config, 100, 1).warmup_steps(), 7);
  config.warmup_steps = StepsOrPart{.part = 0.25};
  EXPECT_EQ(make_lr_schedule(config, 101, 1).warmup_steps(), 25);
  config.total_steps = 40;
  EXPECT_EQ(make_lr_schedule(config, 101, 1).warmup_steps(), 10);
  EXPECT_EQ(make_lr_schedule(config_of("torchtitan"), 1000, 1).warmup_steps(), 200);
}

TEST(LrScheduleTable, RefusesOptionsOfOtherSchedules) {
  LrSchedulerConfig config = config_of("constant");
  config.warmup_steps = StepsOrPart{.steps = 7};
  EXPECT_THAT(problem_with(config), HasSubstr("[lr_scheduler.warmup_steps]"));
  EXPECT_THAT(problem_with(config), HasSubstr("constant_with_warmup"));
  config = config_of("cosine");
  config.power = 2;
  EXPECT_THAT(problem_with(config), HasSubstr("got one of polynomial"));
  EXPECT_THAT(problem_with(config_of("cosin")), HasSubstr("try cosine"));
}

TEST(LrScheduleTable, RefusesSchedulesOfTorchWithoutWhatTheyNeed) {
  for (const auto& [name, option] :
       {std::pair{"StepLR", "step_size"}, {"MultiStepLR", "milestones"}, {"ExponentialLR", "gamma"}}) {
    LrSchedulerConfig config;
    config.name = name;
    EXPECT_THAT(problem_with(config), HasSubstr(str("[lr_scheduler.", option, "] expected "))) << name;
  }
}

// Their rates are numbers: the factor depends on the base rate. The momentum moves with OneCycleLR alone.
TEST(LrScheduleTable, TakesRatesAsNumbersWhereTorchDoes) {
  LrSchedulerConfig config = config_of("CosineAnnealingLR");
  config.t_max = 10;
  config.eta_min = 1e-4;
  EXPECT_NEAR(make_lr_schedule(config, 100, 1e-3).factor(10), 0.1, 1e-12);
  EXPECT_FALSE(make_lr_schedule(config, 100, 1e-3).momentum(0).has_value());
  config = config_of("OneCycleLR");
  config.max_lr = 2e-3;
  const LrSchedule cycle = make_lr_schedule(config, 100, 1e-3);
  EXPECT_NEAR(cycle.factor(29), 2, 1e-12);
  EXPECT_NEAR(*cycle.momentum(29), 0.85, 1e-12);
  EXPECT_NEAR(*cycle.momentum(0), 0.95, 1e-12);
}

TEST(LrScheduleTable, RefusesStepRulesThatAreNone) {
  for (const char* rules : {"1:10", "1,2", "a:10,1", "1:b,1", "-1:10,1", "1:10:3,1"}) {
    LrSchedulerConfig config = config_of("piecewise_constant");
    config.step_rules = rules;
    EXPECT_THAT(problem_with(config), HasSubstr("[lr_scheduler.step_rules]")) << rules;
  }
}

TEST(LrScheduleTable, RefusesDecaysThatDoNotFit) {
  LrSchedulerConfig config = config_of("warmup_stable_decay");
  config.warmup_steps = StepsOrPart{.steps = 60};
  config.decay_steps = StepsOrPart{.part = 0.5};
  EXPECT_THAT(problem_with(config), HasSubstr("expected at most 40 steps"));
  config = config_of("polynomial");
  config.lr_end = 1;
  EXPECT_THAT(problem_with(config), HasSubstr("[lr_scheduler.lr_end]"));
}

}  // namespace
}  // namespace millrace
