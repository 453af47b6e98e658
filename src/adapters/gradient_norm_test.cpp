#include "adapters/gradient_norm.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

namespace millrace {
namespace {

struct Sizes {
  int64_t n, k, r;
};

TEST(GradientNorm, IsTheMeanLengthOfTheRowsOfTheLayersChange) {
  torch::manual_seed(3);
  constexpr double kScale = -0.5;
  std::vector<LoraGradient> all;
  double expected = 0;
  for (const Sizes& size : {Sizes{5, 7, 2}, Sizes{9, 4, 3}}) {
    const torch::Tensor down = at::randn({size.r, size.k}), up = at::randn({size.n, size.r});
    const torch::Tensor ddown = at::randn({size.r, size.k}), dup = at::randn({size.n, size.r});
    const torch::Tensor change_NK = (at::matmul(up, ddown) + at::matmul(dup, down)).mul_(kScale).to(torch::kFloat64);
    expected += change_NK.square().sum(1).sqrt().mean().item<double>() / 2;
    all.push_back({{down, up, kScale}, ddown, dup});
  }
  EXPECT_NEAR(mean_gradient_norm(all), expected, 1e-5 * expected);
  EXPECT_TRUE(std::isnan(mean_gradient_norm({})));
}

}  // namespace
}  // namespace millrace
