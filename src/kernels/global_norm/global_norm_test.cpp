#include "kernels/global_norm/global_norm.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/cpu_level.h"

namespace millrace {
namespace {

using torch::Tensor;

double sum_of_squares(const Tensor& x) {
  const Tensor sum = torch::zeros({1}, torch::kFloat64);
  add_sum_of_squares(x, sum);
  return sum.item<double>();
}

Tensor numbers(int64_t n) {
  return (torch::arange(n, torch::kFloat64) * 0.7).sin().to(torch::kFloat32) * 3;
}

TEST(GlobalNorm, IsTheReferencesSum) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t n : {0, 1, 15, 16, 17, 1000, 16384, 100003}) {
      const Tensor x = numbers(n).to(type);
      const double expected = sum_of_squares_reference(x).item<double>();
      EXPECT_NEAR(sum_of_squares(x), expected, 1e-13 * expected) << n;
    }
  }
}

TEST(GlobalNorm, IsTheSameToTheLastBitForAllLevelsAndThreadCounts) {
  const int threads = at::get_num_threads();
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const Tensor x = numbers(100003).to(type);
    const double expected = sum_of_squares(x);
    for (const CpuLevel level : supported_cpu_levels()) {
      force_cpu_level(level);
      for (const int count : {1, 3}) {
        at::set_num_threads(count);
        EXPECT_EQ(sum_of_squares(x), expected) << cpu_level_name(level) << " " << count;
      }
    }
  }
  force_cpu_level(std::nullopt);
  at::set_num_threads(threads);
}

TEST(GlobalNorm, HugeNumbersDoNotOverflow) {
  const Tensor x = torch::full({100}, 3e38f);
  EXPECT_TRUE(std::isfinite(sum_of_squares(x)));
}

TEST(GlobalNorm, ClipsAsTorchDoes) {
  const Tensor sum = torch::tensor({25.0}, torch::kFloat64), norm = torch::empty({1}), coefficient = torch::empty({});
  clip_coefficient(sum, 1.0, norm, coefficient);
  EXPECT_FLOAT_EQ(norm.item<float>(), 5);
  EXPECT_FLOAT_EQ(coefficient.item<float>(), 1 / (5 + 1e-6));
  clip_coefficient(sum, 7.0, norm, coefficient);
  EXPECT_EQ(coefficient.item<float>(), 1);
  clip_coefficient(sum, 0, norm, coefficient);
  EXPECT_EQ(coefficient.item<float>(), 1);
}

TEST(GlobalNorm, FindsTheFirstElementThatIsNotFinite) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const Tensor x = torch::full({50000}, -3e38f).to(torch::kFloat32).to(type);
    EXPECT_EQ(first_nonfinite(x), -1);
    x[49999] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(first_nonfinite(x), 49999);
    x[16385] = -std::numeric_limits<float>::infinity();
    EXPECT_EQ(first_nonfinite(x), 16385);
    EXPECT_FALSE(std::isfinite(sum_of_squares(x)));
  }
}

}  // namespace
}  // namespace millrace
