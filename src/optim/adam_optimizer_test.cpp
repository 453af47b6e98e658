#include "optim/adam_optimizer.h"

#include <gmock/gmock.h>
#include <torch/optim.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "optim/optim_test_support.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

class AdamOptimizerTest : public ::testing::Test {
 protected:
  AdamOptimizerTest() { torch::manual_seed(1); }
};

// Both torch optimizers, in their own words.
TEST_F(AdamOptimizerTest, AgreesWithLibtorchsOptimizers) {
  for (const bool decoupled : {true, false}) {
    const FlatGroup group = make_group("all", 1237);
    torch::Tensor param = group.master.clone().requires_grad_();
    AdamOptimizerOptions options;
    options.decay_mode = decoupled ? WeightDecay::kDecoupled : WeightDecay::kL2;
    AdamOptimizer ours({group}, options);
    std::unique_ptr<torch::optim::Optimizer> theirs;
    if (decoupled) {
      theirs = std::make_unique<torch::optim::AdamW>(
          std::vector{param}, torch::optim::AdamWOptions(3e-3).betas({0.9, 0.95}).eps(1e-8).weight_decay(0.1));
    } else {
      theirs = std::make_unique<torch::optim::Adam>(
          std::vector{param}, torch::optim::AdamOptions(3e-3).betas({0.9, 0.95}).eps(1e-8).weight_decay(0.1));
    }
    for (int step = 0; step < 20; ++step) {
      const torch::Tensor grad = torch::randn({1237});
      group.grad.copy_(grad);
      param.mutable_grad() = grad.clone();
      ours.step(3e-3);
      theirs->step();
    }
    EXPECT_TRUE(torch::allclose(group.master, param.detach(), 1e-6, 1e-7));
  }
}

TEST_F(AdamOptimizerTest, LeavesZeroGradientsAndCountsSteps) {
  for (const WeightDecay mode : {WeightDecay::kDecoupled, WeightDecay::kL2}) {
    const FlatGroup plain = make_group("plain", 33), mixed = make_group("mixed", 65, torch::kFloat32, true);
    AdamOptimizerOptions options;
    options.decay_mode = mode;
    AdamOptimizer optimizer({plain, mixed}, options);
    for (const FlatGroup& group : optimizer.groups()) group.grad.fill_(1);
    optimizer.step(1e-3, torch::full({1}, 0.5f));
    EXPECT_EQ(plain.grad.count_nonzero().item<int64_t>(), 0);
    EXPECT_EQ(mixed.grad.count_nonzero().item<int64_t>(), 0);
    EXPECT_EQ(optimizer.step_count(), 1);
    EXPECT_TRUE(torch::equal(mixed.model_copy, mixed.master.to(torch::kBFloat16)));
  }
}

// Stopped and started again it takes the same steps, to the last bit.
TEST_F(AdamOptimizerTest, StateAndStepCountAreAllThereIsToRestore) {
  const auto check = [](torch::Dtype dtype, bool copy) {
    const FlatGroup group = make_group("all", 301, dtype, copy);
    const torch::Tensor grads = torch::randn({8, 301}).to(group.grad.scalar_type());
    AdamOptimizer optimizer({group}, {});
    const auto step = [&](AdamOptimizer& which, int64_t i) {
      which.groups()[0].grad.copy_(grads[i]);
      which.step(1e-2);
    };
    for (int64_t i = 0; i < 4; ++i) step(optimizer, i);

    FlatGroup again = group;
    again.master = group.master.clone();
    again.grad = group.grad.clone();
    if (copy) again.model_copy = group.model_copy.clone();
    AdamOptimizer restored({again}, {});
    const auto from = optimizer.state(), to = restored.state();
    ASSERT_EQ(from.size(), 2u);
    for (size_t i = 0; i < from.size(); ++i) {
      EXPECT_EQ(from[i].name, to[i].name);
      to[i].tensor.copy_(from[i].tensor);
    }
    restored.set_step_count(optimizer.step_count());
    for (int64_t i = 4; i < 8; ++i) {
      step(optimizer, i);
      step(restored, i);
    }
    EXPECT_TRUE(torch::equal(group.master, again.master));
    if (copy) {
      EXPECT_TRUE(torch::equal(group.model_copy, again.model_copy));
    }
  };
  check(torch::kFloat32, false);
  check(torch::kFloat32, true);
  check(torch::kBFloat16, false);
}

TEST_F(AdamOptimizerTest, KeepsTwoMomentsPerElementOfEachGroup) {
  AdamOptimizer optimizer({make_group("double_blocks.0", 5), make_group("final_layer", 3)}, {});
  std::vector<std::string> names;
  for (const StateTensor& state : optimizer.state()) {
    names.push_back(optimizer.groups()[state.group].name + "." + state.name);
    EXPECT_EQ(state.extent, StateTensor::Extent::kElements);
    EXPECT_EQ(state.tensor.numel(), optimizer.groups()[state.group].master.numel());
  }
  EXPECT_THAT(names, ::testing::ElementsAre("double_blocks.0.exp_avg", "double_blocks.0.exp_avg_sq",
                                            "final_layer.exp_avg", "final_layer.exp_avg_sq"));
}

TEST_F(AdamOptimizerTest, AGroupsFactorScalesItsLearningRate) {
  const FlatGroup plain = make_group("plain", 33);
  FlatGroup faster = plain;
  faster.master = plain.master.clone();
  faster.grad = plain.grad.clone();
  faster.lr_factor = 16;
  AdamOptimizer together({plain, faster}, {}), alone({make_group("alone", 33)}, {});
  alone.groups()[0].master.copy_(plain.master);
  for (int i = 0; i < 3; ++i) {
    const torch::Tensor grad = torch::randn({33});
    for (const FlatGroup* group : {&together.groups()[0], &together.groups()[1], &alone.groups()[0]}) {
      group->grad.copy_(grad);
    }
    together.step(1e-3);
    alone.step(16e-3);
  }
  EXPECT_TRUE(torch::equal(faster.master, alone.groups()[0].master));
  EXPECT_FALSE(torch::equal(plain.master, faster.master));
}

// Steps far below bf16's resolution move bf16 weights on average when rounding is stochastic, and never otherwise.
TEST_F(AdamOptimizerTest, StochasticRoundingKeepsSmallUpdates) {
  for (const bool stochastic : {true, false}) {
    FlatGroup group = make_group("all", 20011, torch::kBFloat16);
    group.master.fill_(1);
    AdamOptimizerOptions options;
    options.weight_decay = 0;
    options.stochastic_rounding = stochastic;
    AdamOptimizer optimizer({group}, options);
    for (int i = 0; i < 20; ++i) {
      group.grad.fill_(1);
      optimizer.step(1e-4);  // bf16 below 1 has steps of 0.0039
    }
    const double moved = 1 - group.master.to(torch::kFloat64).mean().item<double>();
    EXPECT_NEAR(moved, stochastic ? 20 * 1e-4 : 0, 2e-4);
  }
}

// Weights that are cut over ranks at any place round as they do in one piece, and each piece differently.
TEST_F(AdamOptimizerTest, StochasticRoundingDoesNotDependOnTheSharding) {
  constexpr int64_t kSize = 3001, kCut = 1013, kPadding = 7;
  const uint64_t first = rounding_stream("a"), second = rounding_stream("b");
  EXPECT_NE(first, second);
  FlatGroup whole = make_group("parameters", 2 * kSize + kPadding, torch::kBFloat16);
  whole.master.fill_(1);
  whole.rounding = {{first, 0, kSize, 0}, {second, kSize + kPadding, kSize, 0}};
  FlatGroup left = make_group("parameters", kCut, torch::kBFloat16);
  left.rounding = {{first, 0, kCut, 0}};
  FlatGroup right = make_group("parameters", 2 * kSize - kCut, torch::kBFloat16);
  right.rounding = {{first, 0, kSize - kCut, kCut}, {second, kSize - kCut, kSize, 0}};
  for (FlatGroup* group : {&left, &right}) group->master.fill_(1);
  AdamOptimizerOptions options;
  options.seed = 5;
  AdamOptimizer together({whole}, options), a({left}, options), b({right}, options);
  for (int i = 0; i < 3; ++i) {
    for (AdamOptimizer* optimizer : {&together, &a, &b}) {
      optimizer->groups()[0].grad.fill_(1);
      optimizer->step(1e-3);
    }
  }
  const auto part = [&](int64_t begin, int64_t size) { return whole.master.narrow(0, begin, size); };
  EXPECT_TRUE(torch::equal(part(0, kCut), left.master));
  EXPECT_TRUE(torch::equal(part(kCut, kSize - kCut), right.master.narrow(0, 0, kSize - kCut)));
  EXPECT_TRUE(torch::equal(part(kSize + kPadding, kSize), right.master.narrow(0, kSize - kCut, kSize)));
  EXPECT_FALSE(torch::equal(part(0, kSize), part(kSize + kPadding, kSize)));
  EXPECT_FALSE(torch::equal(part(0, kCut), part(kCut, kCut)));
  EXPECT_TRUE(part(kSize, kPadding).eq(1).all().item<bool>());
}

TEST_F(AdamOptimizerTest, RefusesOptionsThatMakeNoSense) {
  const auto with = [](auto set) {
    AdamOptimizerOptions options;
    set(options);
    AdamOptimizer({make_group("all", 3)}, options);
  };
  EXPECT_THROW(with([](auto& options) { options.beta1 = 1; }), ConfigError);
  EXPECT_THROW(with([](auto& options) { options.beta2 = -0.1; }), ConfigError);
  EXPECT_THROW(with([](auto& options) { options.eps = std::nan(""); }), ConfigError);
}

}  // namespace
}  // namespace millrace
