#include "config/optimizer_rules.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "diffusion/options/config_test_support.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

class OptimizerRulesTest : public ConfigTest {};

TEST_F(OptimizerRulesTest, AnOptionOfAnotherRuleIsAnErrorThatNamesTheRulesThatHaveIt) {
  const std::string message = problem("[optimizer]\nname = \"Lion\"\nd_coef = 2\neps = 1e-6\n");
  EXPECT_THAT(message, HasSubstr("[optimizer.d_coef] expected an option that Lion has, got one of Prodigy"));
  EXPECT_THAT(message, HasSubstr("[optimizer.eps]"));
  EXPECT_THAT(problem("[optimizer]\nname = \"Lyon\"\n"), HasSubstr("Lion"));
  EXPECT_THAT(problem("[optimizer]\nname = \"AdamWScheduleFree\"\nema_decay = 0.9\n"),
              HasSubstr("[optimizer.ema_decay]"));
}

TEST_F(OptimizerRulesTest, WhatIsNotSetHasTheRulesDefault) {
  OptimizerConfig config;
  EXPECT_EQ(with_rule_defaults(config).beta2, 0.95);
  EXPECT_EQ(with_rule_defaults(config).d0, std::nullopt);
  config.name = "Prodigy";
  config.beta1 = 0.8;
  const OptimizerConfig resolved = with_rule_defaults(config);
  EXPECT_EQ(resolved.lr, 1.0);
  EXPECT_EQ(resolved.beta1, 0.8);
  EXPECT_EQ(resolved.beta2, 0.999);
  EXPECT_EQ(resolved.beta3, std::nullopt);
  EXPECT_EQ(resolved.decouple, true);
  EXPECT_EQ(resolved.slice_p, 1);
}

TEST_F(OptimizerRulesTest, EveryDefaultIsAllowed) {
  for (const OptimizerRule& rule : optimizer_rules()) {
    OptimizerConfig config;
    config.name = rule.name;
    FluxRunConfig run;
    run.optimizer = with_rule_defaults(config);
    for (const RuleOption& option : rule.options) EXPECT_THAT(rule_defaults(option.name), HasSubstr(rule.name));
    EXPECT_TRUE(load(to_toml(run)).optimizer == run.optimizer) << rule.name;
  }
}

TEST_F(OptimizerRulesTest, PrintsTheRulesDefaultsAsComments) {
  FluxRunConfig config;
  config.optimizer.name = "Lion";
  const std::string text = to_toml(config);
  EXPECT_THAT(text, HasSubstr("# beta2 = 0.99\n"));
  EXPECT_THAT(text, HasSubstr("# d_coef = None\n"));
  config.optimizer.beta2 = 0.5;
  EXPECT_THAT(to_toml(config), HasSubstr("\nbeta2 = 0.5\n"));
}

TEST_F(OptimizerRulesTest, SomeRulesAverageTheirWeights) {
  OptimizerConfig config;
  EXPECT_FALSE(keeps_average(config));
  config.ema_decay = 0.9;
  EXPECT_TRUE(keeps_average(config));
  config = {};
  config.name = "AdamWScheduleFree";
  EXPECT_TRUE(keeps_average(config));
}

TEST_F(OptimizerRulesTest, StepsAreTakenAsNumbersPartsAndPercent) {
  const auto warmup = [&](const std::string& value) {
    return load("[lr_scheduler]\nname = \"linear\"\nwarmup_steps = " + value + "\n").lr_scheduler.warmup_steps;
  };
  EXPECT_EQ(warmup("7"), (StepsOrPart{.steps = 7}));
  EXPECT_EQ(warmup("0.1"), (StepsOrPart{.part = 0.1}));
  EXPECT_EQ(warmup("\"5%\""), (StepsOrPart{.part = 0.05}));
  EXPECT_EQ(warmup("\"100%\""), (StepsOrPart{.part = 1}));
  for (const char* wrong : {"1.0", "1.5", "-0.1", "\"5\"", "\"101%\"", "true", "-3"}) {
    EXPECT_THAT(problem(std::string("[lr_scheduler]\nname = \"linear\"\nwarmup_steps = ") + wrong + "\n"),
                HasSubstr("warmup_steps"))
        << wrong;
  }
  EXPECT_THAT(problem("[lr_scheduler]\nname = \"constant\"\nwarmup_steps = 7\n"), HasSubstr("constant_with_warmup"));
}

}  // namespace
}  // namespace millrace
