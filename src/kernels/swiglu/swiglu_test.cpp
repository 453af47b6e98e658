#include "kernels/swiglu/swiglu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/cpu_level.h"

namespace millrace {
namespace {

using torch::Tensor;

class SwigluAtLevel : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override { force_cpu_level(GetParam()); }
  void TearDown() override { force_cpu_level(std::nullopt); }
};

TEST_P(SwigluAtLevel, ValueAndDerivativeAreAccurateOverTheWholeRange) {
  const Tensor gate = torch::linspace(-30, 30, 100001).view({1, -1}), up = torch::ones_like(gate);
  const Tensor y = torch::empty_like(gate), dgate = torch::empty_like(gate), dup = torch::empty_like(gate);
  swiglu_forward(gate, up, y);
  swiglu_backward(up, gate, up, dgate, dup);
  const Tensor leaf = gate.to(torch::kFloat64).requires_grad_();
  const Tensor exact = torch::silu(leaf);
  exact.sum().backward();
  EXPECT_TRUE(torch::allclose(y.to(torch::kFloat64), exact, 4 * 0x1p-23, 1e-12));
  EXPECT_TRUE(torch::equal(dup, y));
  EXPECT_LE((dgate - leaf.grad()).abs().max().item<double>(), 8 * 0x1p-24);
}

TEST_P(SwigluAtLevel, HugeInputsAreHarmlessAndNotANumberIsKept) {
  const Tensor gate = torch::tensor({3e38f, -3e38f, 1e3f, -1e3f, std::nanf("")}).view({1, -1});
  const Tensor one = torch::ones_like(gate), y = torch::empty_like(gate);
  const Tensor dgate = torch::empty_like(gate), dup = torch::empty_like(gate);
  swiglu_forward(gate, one, y);
  swiglu_backward(one, gate, one, dgate, dup);
  EXPECT_EQ(y[0][0].item<float>(), 3e38f);
  EXPECT_EQ(y[0][2].item<float>(), 1e3f);
  for (const int i : {1, 3}) EXPECT_NEAR(y[0][i].item<float>(), 0, 1e-30);
  for (const int i : {0, 2}) EXPECT_NEAR(dgate[0][i].item<float>(), 1, 1e-6);
  for (const int i : {1, 3}) EXPECT_NEAR(dgate[0][i].item<float>(), 0, 1e-30);
  EXPECT_TRUE(std::isnan(y[0][4].item<float>()) && std::isnan(dgate[0][4].item<float>()));
}

INSTANTIATE_TEST_SUITE_P(Levels, SwigluAtLevel, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& test) { return std::string(cpu_level_name(test.param)); });

// As in a decoder's layer: the activations become their own gradients.
TEST(Swiglu, GradientsMayReplaceTheirInputs) {
  torch::manual_seed(1);
  const Tensor both = torch::randn({9, 74}), gate = both.narrow(1, 0, 37), up = both.narrow(1, 37, 37);
  const Tensor dy = torch::randn({9, 37}), dgate = torch::empty({9, 37}), dup = torch::empty({9, 37});
  swiglu_backward(dy, gate, up, dgate, dup);
  swiglu_backward(dy, gate, up, gate, up);
  EXPECT_TRUE(torch::equal(gate, dgate) && torch::equal(up, dup));
}

TEST(Swiglu, RefusesShapesThatDoNotFit) {
  const Tensor x = torch::zeros({3, 4});
  EXPECT_THROW(swiglu_forward(x, torch::zeros({3, 5}), x), LogicError);
  EXPECT_THROW(swiglu_forward(x, x.to(torch::kBFloat16), x), LogicError);
}

}  // namespace
}  // namespace millrace
