#include "optim/ema.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "optim/adam_optimizer.h"
#include "optim/optim_test_support.h"

namespace millrace {
namespace {

class MovingAverageTest : public ::testing::Test {
 protected:
  MovingAverageTest() { torch::manual_seed(1); }
};

TEST_F(MovingAverageTest, TheAverageFollowsTheWeightsWithAWarmUp) {
  EXPECT_DOUBLE_EQ(ema_decay_at(0.999, 1), 2.0 / 11);
  EXPECT_DOUBLE_EQ(ema_decay_at(0.999, 1000000), 0.999);
  const FlatGroup group = make_group("all", 97);
  torch::Tensor expected = group.master.to(torch::kFloat64);
  AdamOptimizer optimizer({group}, {});
  MovingAverage average({group}, 0.9);
  optimizer.set_average(&average);
  for (int64_t step = 1; step <= 200; ++step) {
    group.grad.copy_(torch::randn({97}));
    optimizer.step(1e-2);
    const double decay = ema_decay_at(0.9, step);
    expected = decay * expected + (1 - decay) * group.master.to(torch::kFloat64);
  }
  EXPECT_TRUE(torch::allclose(average.buffers()[0].to(torch::kFloat64), expected, 1e-5, 1e-6));
}

TEST_F(MovingAverageTest, AveragedWeightsAreLentAndGivenBackBitForBit) {
  const std::vector<FlatGroup> groups = {make_group("plain", 101), make_group("mixed", 203, torch::kFloat32, true),
                                         make_group("narrow", 307, torch::kBFloat16)};
  AdamOptimizer optimizer(groups, {});
  MovingAverage average(groups, 0.9);
  optimizer.set_average(&average);
  for (int step = 0; step < 3; ++step) {
    for (const FlatGroup& group : groups) group.grad.copy_(torch::randn({group.grad.numel()}));
    optimizer.step(0.1);
  }
  const auto snapshot = [&] {
    std::vector<torch::Tensor> tensors;
    for (const FlatGroup& group : groups) {
      tensors.push_back(group.master.clone());
      if (group.model_copy.defined()) tensors.push_back(group.model_copy.clone());
    }
    for (const torch::Tensor& buffer : average.buffers()) tensors.push_back(buffer.clone());
    return tensors;
  };
  const std::vector<torch::Tensor> before = snapshot();
  const std::vector<torch::Tensor> averages = {before[4], before[5], before[6]};
  {
    const auto lent = average.evaluation_weights();
    EXPECT_TRUE(torch::equal(groups[0].master, averages[0]));
    EXPECT_TRUE(torch::equal(groups[1].model_copy, averages[1].to(torch::kBFloat16)));
    EXPECT_TRUE(torch::equal(groups[2].master, averages[2].to(torch::kBFloat16)));
    EXPECT_FALSE(torch::equal(groups[0].master, before[0]));
  }
  const std::vector<torch::Tensor> after = snapshot();
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(torch::equal(before[i], after[i])) << i;
}

// Where no kernel does it in the pass that steps the weights.
TEST_F(MovingAverageTest, TheSeparatePassAgreesWithTheFusedOne) {
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const FlatGroup group = make_group("all", 1003, dtype);
    AdamOptimizer optimizer({group}, {});
    MovingAverage fused({group}, 0.9), separate({group}, 0.9);
    optimizer.set_average(&fused);
    for (int64_t step = 1; step <= 5; ++step) {
      group.grad.copy_(torch::randn({1003}));
      optimizer.step(1e-2);
      separate.update(step);
    }
    EXPECT_TRUE(torch::allclose(fused.buffers()[0], separate.buffers()[0], 1e-6, 1e-7));
  }
}

TEST_F(MovingAverageTest, RefusesADecayOfOne) {
  EXPECT_THROW(MovingAverage({make_group("all", 3)}, 1), ConfigError);
  EXPECT_THROW(MovingAverage({make_group("all", 3)}, -0.1), ConfigError);
}

}  // namespace
}  // namespace millrace
