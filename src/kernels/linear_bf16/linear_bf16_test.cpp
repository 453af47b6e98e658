#include "kernels/linear_bf16/linear_bf16.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/cpu_level.h"

namespace millrace {
namespace {

using torch::Tensor;

Tensor random_bf16(at::IntArrayRef shape, double scale = 1) {
  return (torch::randn(shape) * scale).to(torch::kBFloat16);
}

LinearBf16 in_double(const LinearBf16& layer) {
  const auto as = [](const Tensor& x) { return x.defined() ? x.to(torch::kFloat64) : x; };
  return {as(layer.weight_NK), as(layer.gate_weight_NK), as(layer.bias_N), as(layer.residual_MN)};
}

// The fp64 result rounded to bf16, but for the fp32 sums' own error, which can move a number to the next one.
void expect_rounded(const Tensor& y_MN, const Tensor& x_MK, const LinearBf16& layer) {
  const Tensor exact = linear_bf16_reference(x_MK.to(torch::kFloat64), in_double(layer));
  const Tensor error = (y_MN.to(torch::kFloat64) - exact).abs();
  EXPECT_TRUE((error <= exact.abs() * 0x1p-8 + 1e-5 * exact.abs().max()).all().item<bool>())
      << x_MK.sizes() << " " << layer.weight_NK.sizes();
  EXPECT_GE(y_MN.eq(exact.to(torch::kBFloat16)).to(torch::kFloat32).mean().item<double>(), 0.98);
}

// Once where this processor has the instructions, else not at all.
class LinearBf16Test : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { torch::manual_seed(5); }
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LinearBf16Test);
INSTANTIATE_TEST_SUITE_P(WhereSupported, LinearBf16Test,
                         testing::ValuesIn(std::vector<bool>(has_bf16_dot_products() ? 1 : 0, true)));

struct Shape {
  int64_t rows, depth, columns;
};
// Ends of tiles, panels, vectors, pairs and blocks of the depth.
const std::vector<Shape> kShapes = {{1, 1, 1},      {14, 32, 32},    {15, 33, 33},     {13, 31, 17},
                                    {29, 2049, 31}, {2, 4099, 65},   {200, 64, 48},    {1100, 96, 290},
                                    {57, 300, 16},  {43, 2048, 300}, {1100, 2100, 200}};

TEST_P(LinearBf16Test, IsTheRoundedProduct) {
  for (const auto& [rows, depth, columns] : kShapes) {
    const Tensor x = random_bf16({rows, depth}), y = torch::empty({rows, columns}, torch::kBFloat16);
    const LinearBf16 layer{.weight_NK = random_bf16({columns, depth}, 1 / std::sqrt(static_cast<double>(depth)))};
    linear_bf16(y, x, layer);
    expect_rounded(y, x, layer);
  }
}

TEST_P(LinearBf16Test, BiasAndResidualAreAddedBeforeRounding) {
  for (const auto& [rows, depth, columns] : kShapes) {
    const Tensor x = random_bf16({rows, depth}), residual = random_bf16({rows, columns});
    LinearBf16 layer{.weight_NK = random_bf16({columns, depth}, 1 / std::sqrt(static_cast<double>(depth)))};
    layer.bias_N = random_bf16({columns});
    layer.residual_MN = residual.clone();
    linear_bf16(layer.residual_MN, x, layer);  // over the residual
    const Tensor y = layer.residual_MN;
    layer.residual_MN = residual;
    expect_rounded(y, x, layer);
  }
}

TEST_P(LinearBf16Test, GatesWithGelu) {
  for (const auto& [rows, depth, columns] : kShapes) {
    const Tensor x = random_bf16({rows, depth}), y = torch::empty({rows, columns}, torch::kBFloat16);
    const double scale = 1 / std::sqrt(static_cast<double>(depth));
    const LinearBf16 layer{.weight_NK = random_bf16({columns, depth}, scale),
                           .gate_weight_NK = random_bf16({columns, depth}, scale)};
    linear_bf16(y, x, layer);
    expect_rounded(y, x, layer);
  }
}

TEST_P(LinearBf16Test, RowsMayBePartsOfWiderOnes) {
  const Tensor x = random_bf16({37, 200}).narrow(1, 3, 70), weight = random_bf16({50, 90}, 0.1).narrow(1, 20, 70);
  const Tensor wide = torch::zeros({37, 80}, torch::kBFloat16), y = wide.narrow(1, 7, 50);
  linear_bf16(y, x, {.weight_NK = weight});
  expect_rounded(y, x, {.weight_NK = weight});
  EXPECT_EQ(torch::count_nonzero(wide.narrow(1, 0, 7)).item<int64_t>(), 0);
  EXPECT_EQ(torch::count_nonzero(wide.narrow(1, 57, 23)).item<int64_t>(), 0);

  LinearBf16 layer{.weight_NK = weight, .residual_MN = random_bf16({37, 61}).narrow(1, 2, 50)};
  linear_bf16(y, x, layer);
  expect_rounded(y, x, layer);
  layer = {.weight_NK = weight, .gate_weight_NK = random_bf16({50, 75}, 0.1).narrow(1, 5, 70)};
  linear_bf16(y, x, layer);
  expect_rounded(y, x, layer);
}

TEST_P(LinearBf16Test, NeitherThreadsNorOtherRowsChangeAResult) {
  const Tensor x = random_bf16({130, 2100}), y = torch::empty({130, 333}, torch::kBFloat16);
  const LinearBf16 layer{.weight_NK = random_bf16({333, 2100}, 0.02)};
  const int threads = at::get_num_threads();
  linear_bf16(y, x, layer);
  for (const int count : {1, 3, 16}) {
    at::set_num_threads(count);
    const Tensor again = torch::empty_like(y), some = torch::empty({9, 333}, torch::kBFloat16);
    linear_bf16(again, x, layer);
    EXPECT_TRUE(torch::equal(again, y)) << count;
    linear_bf16(some, x.narrow(0, 41, 9), layer);
    EXPECT_TRUE(torch::equal(some, y.narrow(0, 41, 9))) << count;
  }
  at::set_num_threads(threads);
}

TEST_P(LinearBf16Test, InfinitiesAndNotANumberStayInTheirRows) {
  const Tensor x = random_bf16({20, 40}), y = torch::empty({20, 24}, torch::kBFloat16);
  x[3][39] = std::nanf("");
  x[17][0] = std::numeric_limits<float>::infinity();
  linear_bf16(y, x, {.weight_NK = torch::ones({24, 40}, torch::kBFloat16)});
  EXPECT_TRUE(y[3].isnan().all().item<bool>());
  EXPECT_TRUE(y[17].isinf().all().item<bool>());
  EXPECT_EQ(y.isfinite().sum().item<int64_t>(), 18 * 24);
}

// What is not taken must not be called for either.
TEST_P(LinearBf16Test, SuitsOnlyWhatItTakes) {
  const Tensor x = random_bf16({128, 128}), weight = random_bf16({128, 128}), row = random_bf16({1, 128});
  EXPECT_EQ(suits_linear_bf16(x, {.weight_NK = weight, .bias_N = row[0]}), is_amd_processor());
  EXPECT_FALSE(suits_linear_bf16(x, {.weight_NK = weight, .bias_N = row}));
  EXPECT_FALSE(suits_linear_bf16(x, {.weight_NK = weight, .bias_N = row[0].to(torch::kFloat32)}));
  EXPECT_FALSE(suits_linear_bf16(x, {.weight_NK = weight, .bias_N = row[0].narrow(0, 0, 1).expand({128})}));
  EXPECT_FALSE(suits_linear_bf16(x, {.weight_NK = weight, .residual_MN = row}));
  EXPECT_FALSE(suits_linear_bf16(x, {.weight_NK = weight, .residual_MN = x.to(torch::kFloat32)}));
  EXPECT_FALSE(suits_linear_bf16(x, {.weight_NK = weight, .gate_weight_NK = weight.t()}));
  EXPECT_FALSE(suits_linear_bf16(x.t(), {.weight_NK = weight}));
  EXPECT_FALSE(suits_linear_bf16(x.narrow(0, 0, 15), {.weight_NK = weight}));
  EXPECT_FALSE(suits_linear_bf16(x.to(torch::kMeta), {.weight_NK = weight.to(torch::kMeta)}));
  force_cpu_level(CpuLevel::kV3);
  EXPECT_FALSE(suits_linear_bf16(x, {.weight_NK = weight}));
  EXPECT_THROW(linear_bf16(x.clone(), x, {.weight_NK = weight}), LogicError);
  force_cpu_level(std::nullopt);
}

TEST_P(LinearBf16Test, RefusesWhatDoesNotFit) {
  const Tensor x = random_bf16({4, 8}), y = random_bf16({4, 6}), weight = random_bf16({6, 8});
  EXPECT_THROW(linear_bf16(y, x, {.weight_NK = random_bf16({6, 9})}), LogicError);
  EXPECT_THROW(linear_bf16(y, x, {.weight_NK = random_bf16({7, 8})}), LogicError);
  EXPECT_THROW(linear_bf16(y, x, {.weight_NK = weight.to(torch::kFloat32)}), LogicError);
  EXPECT_THROW(linear_bf16(y, x, {.weight_NK = random_bf16({8, 6}).t()}), LogicError);
  EXPECT_THROW(linear_bf16(y, x, {.weight_NK = weight, .bias_N = random_bf16({5})}), LogicError);
  EXPECT_THROW(linear_bf16(y, x, {.weight_NK = weight, .gate_weight_NK = weight, .residual_MN = y}), LogicError);
  linear_bf16(y.narrow(0, 0, 0), x.narrow(0, 0, 0), {.weight_NK = weight});  // no rows: nothing to do
}

}  // namespace
}  // namespace millrace
