#include "optim/optimizer_table.h"

#include <gmock/gmock.h>

#include <optional>

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
    constexpr int kSteps = 7;  // rectified averages move nothing in the first five
    for (int step = 0; step < kSteps; ++step) {
      optimizer->groups()[0].grad.copy_(torch::randn({40}));
      optimizer->step(1e-2);
    }
    EXPECT_FALSE(torch::equal(before, optimizer->groups()[0].master)) << rule.name;
    EXPECT_EQ(optimizer->groups()[0].grad.count_nonzero().item<int64_t>(), 0) << rule.name;
    EXPECT_EQ(optimizer->step_count(), kSteps);
  }
}

// Updates far below bf16's resolution: to nearest nothing would move.
TEST(OptimizerTable, WeightsKeptInBf16AloneRoundAtRandomUnlessToldOtherwise) {
  for (const std::optional<bool> wanted : {std::optional<bool>(), std::optional(true), std::optional(false)}) {
    OptimizerSetup setup = setup_of("SGD");
    setup.config.stochastic_rounding = wanted;
    FlatGroup& group = setup.groups[0];
    group.master = torch::ones({40}, torch::kBFloat16);
    group.grad = torch::ones({40}, torch::kBFloat16);
    const std::unique_ptr<Optimizer> optimizer = make_optimizer(setup);
    optimizer->step(1e-3);  // a third of the distance to the next number
    const int64_t moved = group.master.ne(1).sum().item<int64_t>();
    EXPECT_EQ(moved > 0, wanted.value_or(true)) << moved;
    EXPECT_LT(moved, 40);
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
