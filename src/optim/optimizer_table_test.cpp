#include "optim/optimizer_table.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "config/optimizer_rules.h"
#include "optim/optim_test_support.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

OptimizerSetup setup_of(const std::string& name) {
  OptimizerSetup setup;
  setup.groups = {make_group("all", 40)};
  setup.config.name = name;
  return setup;
}

TEST(OptimizerTable, MakesEveryRuleOfTheConfiguration) {
  for (const OptimizerRule& rule : optimizer_rules()) {
    const std::unique_ptr<Optimizer> optimizer = make_optimizer(setup_of(rule.name));
    const torch::Tensor before = optimizer->groups()[0].master.clone();
    optimizer->groups()[0].grad.copy_(torch::randn({40}));
    optimizer->step(1e-2);
    EXPECT_FALSE(torch::equal(before, optimizer->groups()[0].master)) << rule.name;
    EXPECT_EQ(optimizer->groups()[0].grad.count_nonzero().item<int64_t>(), 0) << rule.name;
    EXPECT_EQ(optimizer->step_count(), 1);
  }
}

TEST(OptimizerTable, NamesTheNearestRule) {
  try {
    make_optimizer(setup_of("AdamV"));
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("[optimizer.name]"));
    EXPECT_THAT(error.what(), HasSubstr("try Adam"));
  }
}

}  // namespace
}  // namespace millrace
