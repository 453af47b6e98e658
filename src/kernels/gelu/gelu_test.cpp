#include "kernels/gelu/gelu.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "kernels/cpu_level.h"

namespace millrace {
namespace {

using torch::Tensor;

class GeluAtLevel : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override { force_cpu_level(GetParam()); }
  void TearDown() override { force_cpu_level(std::nullopt); }
};

// Relative to the fp64 value. z = 2u is rounded before exp(-z), so that far to the left, where gelu vanishes, its
// relative error grows with |z|.
TEST_P(GeluAtLevel, IsAccurateOverTheWholeRange) {
  const Tensor x = torch::linspace(-9, 12, 200001).view({1, 1, -1});
  const Tensor y = torch::empty_like(x);
  gelu_forward(x, {}, y);
  const Tensor exact = torch::gelu(x.to(torch::kFloat64), "tanh");
  // The reference's 1 + tanh(u) cancels in fp64 too, by 2^-52 / (1 + tanh(u)): stay where that is nothing.
  const Tensor error = ((y - exact) / exact).abs().masked_fill(x == 0, 0);
  const auto worst = [&](double from, double to) {
    return error.masked_fill((x < from).logical_or(x > to), 0).max().item<double>() / 0x1p-24;
  };
  EXPECT_LE(worst(-0.5, 12), 4);  // in units of fp32's rounding error
  EXPECT_LE(worst(-3, -0.5), 20);
  EXPECT_LE(worst(-5, -3), 60);
  EXPECT_LE((y - exact).abs().max().item<double>(), 6e-7);  // 1 ulp of 12
}

TEST_P(GeluAtLevel, TheDerivativeIsAccurateOverTheWholeRange) {
  const Tensor x = torch::linspace(-12, 12, 200001).view({1, 1, -1});
  const Tensor dx = torch::empty_like(x);
  gelu_backward(torch::ones_like(x), x, {}, dx, {}, false);
  const Tensor leaf = x.to(torch::kFloat64).requires_grad_(true);
  torch::gelu(leaf, "tanh").sum().backward();
  EXPECT_LE((dx - leaf.grad()).abs().max().item<double>(), 8 * 0x1p-24);
}

TEST_P(GeluAtLevel, HugeInputsAreHarmlessAndNotANumberIsKept) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = torch::tensor({3e38f, inf, -3e38f, -inf, std::nanf("")}).view({1, 1, -1});
  const Tensor y = torch::empty_like(x), dx = torch::empty_like(x);
  gelu_forward(x, {}, y);
  gelu_backward(torch::ones_like(x), x, {}, dx, {}, false);
  EXPECT_EQ(y[0][0][0].item<float>(), 3e38f);
  EXPECT_EQ(y[0][0][1].item<float>(), inf);
  for (const int i : {2, 3}) EXPECT_NEAR(y[0][0][i].item<float>(), 0, 1e-30);
  for (const int i : {0, 1}) EXPECT_NEAR(dx[0][0][i].item<float>(), 1, 1e-6);
  for (const int i : {2, 3}) EXPECT_NEAR(dx[0][0][i].item<float>(), 0, 1e-30);
  EXPECT_TRUE(std::isnan(y[0][0][4].item<float>()) && std::isnan(dx[0][0][4].item<float>()));
}

INSTANTIATE_TEST_SUITE_P(Levels, GeluAtLevel, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& test) { return std::string(cpu_level_name(test.param)); });

// As in a single block: x is the right part of linear1's output, y the right part of linear2's input.
TEST(Gelu, RowsMayBePartsOfWiderOnes) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    torch::manual_seed(1);
    const Tensor projection = torch::randn({2, 9, 100}).to(type), x = projection.narrow(2, 60, 40);
    const Tensor input = torch::zeros({2, 9, 55}, type), y = input.narrow(2, 15, 40);
    const Tensor bias = torch::randn({40}).to(type);
    gelu_forward(x, bias, y);
    const Tensor exact = gelu_reference(x.to(torch::kFloat32), bias.to(torch::kFloat32));
    EXPECT_TRUE(torch::allclose(y.to(torch::kFloat32), exact, type == torch::kFloat32 ? 1e-5 : 0x1p-8, 1e-6));
    EXPECT_EQ(torch::count_nonzero(input.narrow(2, 0, 15)).item<int64_t>(), 0);
  }
}

TEST(Gelu, TheGradientMayReplaceEitherInput) {
  torch::manual_seed(2);
  const Tensor x = torch::randn({2, 33, 40}), dy = torch::randn({2, 33, 40}), bias = torch::randn({40});
  const Tensor dx = torch::empty_like(x), dbias = torch::full({40}, 3.0f);
  gelu_backward(dy, x, bias, dx, dbias, true);
  EXPECT_TRUE(torch::allclose(dbias, 3 + dx.sum(at::IntArrayRef({0, 1})), 1e-4, 1e-4));
  const Tensor over_dy = dy.clone(), over_x = x.clone(), dbias2 = torch::empty({40});
  gelu_backward(over_dy, x, bias, over_dy, dbias2, false);
  gelu_backward(dy, over_x, bias, over_x, {}, false);
  EXPECT_TRUE(torch::equal(over_dy, dx));
  EXPECT_TRUE(torch::equal(over_x, dx));
  EXPECT_TRUE(torch::allclose(dbias2, dbias - 3, 1e-4, 1e-4));
}

TEST(Gelu, TwoDimensionalInputsAreOneSample) {
  const Tensor x = torch::linspace(-3, 3, 35).view({7, 5}), y = torch::empty_like(x);
  gelu_forward(x, {}, y);
  EXPECT_TRUE(torch::allclose(y, gelu_reference(x), 1e-5, 1e-7));
}

TEST(Gelu, RefusesShapesThatDoNotFit) {
  const Tensor x = torch::zeros({2, 3, 4});
  EXPECT_THROW(gelu_forward(x, torch::zeros({5}), x), LogicError);
  EXPECT_THROW(gelu_forward(x, {}, torch::zeros({2, 3, 5})), LogicError);
}

}  // namespace
}  // namespace millrace
