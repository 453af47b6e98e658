#include "kernels/gemv_fp32/gemv_fp32.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cpu_level.h"

namespace millrace {
namespace {

using torch::Tensor;

TEST(GemvFp32, MultipliesOnAnyNumberOfThreads) {
  torch::manual_seed(9);
  const int threads = at::get_num_threads();
  for (const CpuLevel level : supported_cpu_levels()) {
    force_cpu_level(level);
    for (const auto& [outputs, depth] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {7, 5}, {300, 517}, {65, 64}}) {
      const Tensor wide_NK = torch::randn({outputs, depth + 3}), weight_NK = wide_NK.narrow(1, 2, depth);
      const Tensor x_K = torch::randn({depth}), out_N = torch::empty({outputs});
      gemv_fp32(out_N, weight_NK, x_K);
      const Tensor expected = torch::mv(weight_NK.to(torch::kFloat64), x_K.to(torch::kFloat64));
      EXPECT_LT((out_N - expected).abs().max().item<double>(), 1e-4) << outputs << " " << depth;
      at::set_num_threads(5);
      const Tensor again_N = torch::empty({outputs});
      gemv_fp32(again_N, weight_NK, x_K);
      EXPECT_TRUE(torch::equal(again_N, out_N));
      at::set_num_threads(threads);
    }
  }
  force_cpu_level(std::nullopt);
}

TEST(GemvFp32, RefusesWhatDoesNotFit) {
  const Tensor weight = torch::ones({6, 8}), x = torch::ones({8}), out = torch::empty({6});
  EXPECT_TRUE(suits_gemv_fp32(out, weight, x));
  EXPECT_FALSE(suits_gemv_fp32(out, weight.t().contiguous().t(), x));
  EXPECT_FALSE(suits_gemv_fp32(out, weight, torch::ones({8, 2}).select(1, 0)));
  EXPECT_FALSE(suits_gemv_fp32(out, weight, x.to(torch::kFloat64)));
  EXPECT_FALSE(suits_gemv_fp32(torch::empty({7}), weight, x));
  EXPECT_THROW(gemv_fp32(out, weight, torch::ones({9})), LogicError);
}

}  // namespace
}  // namespace millrace
