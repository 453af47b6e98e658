#include "kernels/gemm_fp32/gemm_fp32.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "kernels/cpu_level.h"

namespace millrace {
namespace {

using torch::Tensor;

// fp32 sums in blocks: their error grows with the root of the depth.
void expect_product(const Tensor& out_MN, const Tensor& a_MK, const Tensor& b_KN, const Tensor& added_MN = {}) {
  const auto exact = [](const Tensor& x) { return x.to(torch::kFloat64); };
  Tensor expected = torch::mm(exact(a_MK), exact(b_KN));
  if (added_MN.defined()) expected += exact(added_MN);
  const double depth = static_cast<double>(a_MK.size(1)), error = (exact(out_MN) - expected).abs().max().item<double>();
  EXPECT_LT(error, 4e-6 * (1 + std::sqrt(depth))) << a_MK.sizes() << " " << b_KN.sizes();
}

class GemmFp32Test : public testing::TestWithParam<std::optional<CpuLevel>> {
 protected:
  void SetUp() override {
    torch::manual_seed(8);
    force_cpu_level(GetParam());
  }
  void TearDown() override { force_cpu_level(std::nullopt); }
};
INSTANTIATE_TEST_SUITE_P(Levels, GemmFp32Test, testing::ValuesIn(cpu_level_choices()),
                         [](const auto& choice) { return cpu_level_choice_name(choice.param); });

struct Shape {
  int64_t rows, depth, columns;
};
// Ends of tiles, halves of tiles, panels, vectors, blocks of rows and of the depth; more columns, and more depth, than
// are packed at once.
const std::vector<Shape> kShapes = {{1, 1, 1},       {4, 8, 24},      {5, 7, 25},     {8, 16, 48},  {129, 257, 49},
                                    {128, 256, 96},  {131, 16, 70},   {48, 100, 80},  {16, 31, 17}, {47, 33, 112},
                                    {260, 1030, 31}, {3, 4100, 1100}, {2, 9000, 1200}};

TEST_P(GemmFp32Test, MultipliesWithAnyStrides) {
  for (const auto& [rows, depth, columns] : kShapes) {
    const Tensor a = torch::randn({rows, depth}), b = torch::randn({depth, columns});
    const Tensor turned_a = a.t().contiguous().t(), turned_b = b.t().contiguous().t();
    const Tensor spread_a = torch::randn({rows, 2 * depth}).slice(1, 0, 2 * depth, 2).copy_(a);
    for (const Tensor& left : {a, turned_a, spread_a}) {
      for (const Tensor& right : {b, turned_b}) {
        const Tensor out = torch::full({rows, columns}, std::nanf(""));
        gemm_fp32(out, left, right);
        expect_product(out, left, right);
      }
    }
  }
}

TEST_P(GemmFp32Test, AddsToAPartOfWiderRows) {
  for (const auto& [rows, depth, columns] : kShapes) {
    const Tensor a = torch::randn({rows, depth}), b = torch::randn({columns, depth}).t();
    const Tensor wide = torch::randn({rows, columns + 5}), before = wide.clone();
    gemm_fp32(wide.narrow(1, 2, columns), a, b, /*accumulate=*/true);
    expect_product(wide.narrow(1, 2, columns), a, b, before.narrow(1, 2, columns));
    EXPECT_TRUE(torch::equal(wide.narrow(1, 0, 2), before.narrow(1, 0, 2)));
    EXPECT_TRUE(torch::equal(wide.narrow(1, columns + 2, 3), before.narrow(1, columns + 2, 3)));
  }
}

// As near to the exact product as fp32 sums are, over the whole range of exponents.
TEST_P(GemmFp32Test, IsAsExactAsSumsOfFp32) {
  const Tensor scale = torch::pow(2.0, torch::randint(-40, 41, {64, 1}, torch::kFloat64)).to(torch::kFloat32);
  const Tensor a = torch::randn({64, 640}) * scale, b = torch::randn({640, 64}), out = torch::empty({64, 64});
  gemm_fp32(out, a, b);
  const Tensor a_exact = a.to(torch::kFloat64), b_exact = b.to(torch::kFloat64);
  const Tensor sizes = torch::mm(a_exact.abs(), b_exact.abs()), error = (out - torch::mm(a_exact, b_exact)).abs();
  EXPECT_LT((error / sizes).max().item<double>(), 0x1p-21);
  EXPECT_LT((error / sizes).mean().item<double>(), 0x1p-24);
}

TEST_P(GemmFp32Test, NeitherThreadsNorOtherRowsChangeAResult) {
  const Tensor a = torch::randn({300, 700}), b = torch::randn({333, 700}).t(), out = torch::empty({300, 333});
  const int threads = at::get_num_threads();
  gemm_fp32(out, a, b);
  for (const int count : {1, 3, 16}) {
    at::set_num_threads(count);
    const Tensor again = torch::empty_like(out), some = torch::empty({9, 200});
    gemm_fp32(again, a, b);
    EXPECT_TRUE(torch::equal(again, out)) << count;
    gemm_fp32(some, a.narrow(0, 41, 9), b.narrow(1, 7, 200));
    EXPECT_TRUE(torch::equal(some, out.narrow(0, 41, 9).narrow(1, 7, 200))) << count;
  }
  at::set_num_threads(threads);
}

TEST_P(GemmFp32Test, OtherColumnsDoNotChangeALongSum) {
  const Tensor a = torch::randn({4, 9000}), b = torch::randn({9000, 1200}), out = torch::empty({4, 1200});
  const Tensor some = torch::empty({2, 40});
  gemm_fp32(out, a, b);
  gemm_fp32(some, a.narrow(0, 1, 2), b.narrow(1, 300, 40));
  EXPECT_TRUE(torch::equal(some, out.narrow(0, 1, 2).narrow(1, 300, 40)));
}

TEST_P(GemmFp32Test, InfinitiesAndNotANumberStayInTheirRows) {
  const Tensor a = torch::ones({21, 40}), out = torch::empty({21, 25});
  a[3][39] = std::nanf("");
  a[20][0] = std::numeric_limits<float>::infinity();
  gemm_fp32(out, a, torch::ones({40, 25}));
  EXPECT_TRUE(out[3].isnan().all().item<bool>());
  EXPECT_TRUE((has_bf16_tiles() ? out[20].isnan() : out[20].isinf()).all().item<bool>());
  EXPECT_EQ(out.isfinite().sum().item<int64_t>(), 19 * 25);
}

TEST(GemmFp32, SuitsLargeProductsOfTheProcessorsItIsFor) {
  const Tensor a = torch::ones({300, 300}), b = torch::ones({300, 300});
  EXPECT_EQ(suits_gemm_fp32(a, b), has_bf16_tiles());
  EXPECT_FALSE(suits_gemm_fp32(a.narrow(0, 0, 31), b));
  EXPECT_FALSE(suits_gemm_fp32(a, b.narrow(1, 0, 31)));
  EXPECT_FALSE(suits_gemm_fp32(a.to(torch::kFloat64), b.to(torch::kFloat64)));
  EXPECT_FALSE(suits_gemm_fp32(a.to(torch::kMeta), b.to(torch::kMeta)));
}

TEST(GemmFp32, RefusesWhatDoesNotFit) {
  const Tensor a = torch::ones({4, 8}), b = torch::ones({8, 6}), out = torch::empty({4, 6});
  EXPECT_THROW(gemm_fp32(out, a, torch::ones({9, 6})), LogicError);
  EXPECT_THROW(gemm_fp32(torch::empty({6, 4}).t(), a, b), LogicError);
  EXPECT_THROW(gemm_fp32(torch::empty({4, 7}), a, b), LogicError);
  EXPECT_THROW(gemm_fp32(out, a.to(torch::kBFloat16), b), LogicError);
  gemm_fp32(out.narrow(0, 0, 0), a.narrow(0, 0, 0), b);  // no rows: nothing to do
}

}  // namespace
}  // namespace millrace
