#include "kernels/gemv/gemv.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cpu_level.h"

namespace millrace {
namespace {

using torch::Tensor;

TEST(Gemv, MultipliesOnAnyNumberOfThreads) {
  torch::manual_seed(9);
  const int threads = at::get_num_threads();
  for (const CpuLevel level : supported_cpu_levels()) {
    force_cpu_level(level);
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
      for (const auto& [outputs, depth] :
           std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {7, 5}, {300, 517}, {65, 64}}) {
        const Tensor wide_NK = torch::randn({outputs, depth + 3}).to(type), weight_NK = wide_NK.narrow(1, 2, depth);
        const Tensor x_K = torch::randn({depth}).to(type), out_N = torch::empty({outputs}, type);
        gemv(out_N, weight_NK, x_K);
        const Tensor expected = torch::mv(weight_NK.to(torch::kFloat64), x_K.to(torch::kFloat64));
        const double rounding = type == torch::kFloat32 ? 0 : 0x1p-8;
        const Tensor error = (out_N.to(torch::kFloat64) - expected).abs();
        EXPECT_TRUE((error <= 1e-4 + rounding * expected.abs()).all().item<bool>()) << outputs << " " << depth;
        at::set_num_threads(5);
        const Tensor again_N = torch::empty({outputs}, type);
        gemv(again_N, weight_NK, x_K);
        EXPECT_TRUE(torch::equal(again_N, out_N));
        at::set_num_threads(threads);
      }
    }
  }
  force_cpu_level(std::nullopt);
}

TEST(Gemv, RefusesWhatDoesNotFit) {
  const Tensor weight = torch::ones({6, 8}), x = torch::ones({8}), out = torch::empty({6});
  EXPECT_TRUE(suits_gemv(out, weight, x));
  EXPECT_FALSE(suits_gemv(out, weight.t().contiguous().t(), x));
  EXPECT_FALSE(suits_gemv(out, weight, torch::ones({8, 2}).select(1, 0)));
  EXPECT_FALSE(suits_gemv(out, weight, x.to(torch::kBFloat16)));
  EXPECT_FALSE(suits_gemv(torch::empty({7}), weight, x));
  EXPECT_THROW(gemv(out, weight, torch::ones({9})), LogicError);
}

}  // namespace
}  // namespace millrace
