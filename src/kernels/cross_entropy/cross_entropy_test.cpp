#include "kernels/cross_entropy/cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "kernels/cpu_level.h"

namespace millrace {
namespace {

using torch::Tensor;

class CrossEntropyAtLevel : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override { force_cpu_level(GetParam()); }
  void TearDown() override { force_cpu_level(std::nullopt); }
};

// A vocabulary's worth of classes, likely and unlikely labels, first and last ones.
TEST_P(CrossEntropyAtLevel, LossesAndGradientsAreAccurate) {
  torch::manual_seed(1);
  const Tensor logits = torch::randn({6, 49153}) * 4, labels = torch::tensor({0, 49152, 17, 300, 49151, 9});
  logits[2][17] = 40;
  const Tensor losses = torch::empty({6}), alone = torch::empty({6}), dlogits = logits.clone();
  cross_entropy_forward(logits, labels, alone);
  cross_entropy_in_place(dlogits, labels, losses, 0.5);
  const Tensor leaf = logits.to(torch::kFloat64).requires_grad_();
  const Tensor exact = cross_entropy_reference(leaf, labels);
  (exact.sum() * 0.5).backward();
  EXPECT_TRUE(torch::equal(losses, alone));
  EXPECT_TRUE(torch::allclose(losses.to(torch::kFloat64), exact, 1e-6, 1e-6));
  EXPECT_LE((dlogits - leaf.grad()).norm().item<double>(), 1e-6 * leaf.grad().norm().item<double>());
}

TEST_P(CrossEntropyAtLevel, HugeLogitsAreHarmlessAndNotANumberIsKept) {
  const Tensor logits = torch::tensor({{3e38f, -3e38f, 0.0f}, {1e4f, 1e4f, -INFINITY}, {NAN, 0.0f, 1.0f}});
  const Tensor losses = torch::empty({3});
  cross_entropy_in_place(logits, torch::tensor({0, 1, 1}), losses, 1);
  EXPECT_EQ(losses[0].item<float>(), 0);
  EXPECT_EQ(logits[0][0].item<float>(), 0);
  EXPECT_NEAR(losses[1].item<float>(), std::log(2.0f), 1e-6);
  EXPECT_NEAR(logits[1][1].item<float>(), -0.5, 1e-6);
  EXPECT_TRUE(std::isnan(losses[2].item<float>()));
}

INSTANTIATE_TEST_SUITE_P(Levels, CrossEntropyAtLevel, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& test) { return std::string(cpu_level_name(test.param)); });

TEST(CrossEntropy, RefusesShapesThatDoNotFit) {
  const Tensor logits = torch::zeros({3, 4}), losses = torch::zeros({3});
  EXPECT_THROW(cross_entropy_forward(logits, torch::zeros({2}, torch::kInt64), losses), LogicError);
  EXPECT_THROW(cross_entropy_forward(logits, torch::zeros({3}, torch::kInt32), losses), LogicError);
  EXPECT_THROW(cross_entropy_forward(logits, torch::zeros({3}, torch::kInt64), torch::zeros({4})), LogicError);
}

}  // namespace
}  // namespace millrace
