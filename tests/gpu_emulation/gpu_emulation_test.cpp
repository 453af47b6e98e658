// Every GPU kernel, run on a CPU, against its reference: in waves of 32 and 64 threads, and whatever thread comes
// first.
#include <gtest/gtest.h>

#include <limits>

#include "kernels/adamw/adamw.h"
#include "kernels/global_norm/global_norm.h"
#include "kernels/gpu_emulation.h"
#include "kernels/op_check.h"
#include "kernels/self_check.h"

namespace millrace {
namespace {

using torch::Tensor;
using Order = EmulatedGpu::Order;

Tensor numbers(uint64_t id, int64_t count) {
  return random_tensor(7, id, {count}).to(torch::kFloat32);
}

class OnEmulatedGpu : public testing::TestWithParam<std::tuple<int, Order>> {
 protected:
  void SetUp() override { emulated_gpu() = {.wave = std::get<0>(GetParam()), .order = std::get<1>(GetParam())}; }
  void TearDown() override { emulated_gpu() = {}; }
};

TEST_P(OnEmulatedGpu, EveryKernelAgreesWithItsReference) {
  for (const KernelCheck& check : kernel_checks()) {
    if (check.cpu_only) continue;
    const int64_t before = emulated_gpu().launches;
    const KernelCheckResult result = check.run(torch::kCPU);
    EXPECT_TRUE(result.passed()) << check.name << ": " << result.error << " > " << result.tolerance;
    EXPECT_GT(emulated_gpu().launches, before) << check.name;
  }
}

TEST_P(OnEmulatedGpu, TheFirstNonfiniteElementIsFound) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    Tensor x = torch::ones({40001}, type);
    EXPECT_EQ(first_nonfinite(x), -1);
    x[40000] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(first_nonfinite(x), 40000);
    x[17] = -std::numeric_limits<float>::infinity();
    EXPECT_EQ(first_nonfinite(x), 17);
    EXPECT_EQ(first_nonfinite(x.narrow(0, 18, 39983)), 39982);
  }
}

std::string name_of(const testing::TestParamInfo<std::tuple<int, Order>>& test) {
  const auto [wave, order] = test.param;
  return std::to_string(wave) + (order == Order::kForward ? "Forward" : "Reverse");
}
INSTANTIATE_TEST_SUITE_P(Waves, OnEmulatedGpu,
                         testing::Values(std::tuple(32, Order::kForward), std::tuple(64, Order::kReverse)), name_of);

// The widest wave, the order of threads and the place of the sums leave no trace in any bit.
TEST(EmulatedGpu, ResultsAreTheSameBitsOnEveryGpu) {
  for (const OpCase& op_case : all_op_cases(8)) {
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
      emulated_gpu() = {};
      const Tensors expected = outputs_and_gradients(op_case.fused, op_case.inputs, type, torch::kCPU);
      for (const EmulatedGpu& gpu : {EmulatedGpu{.wave = 64, .order = Order::kReverse},
                                     EmulatedGpu{.wave = 64, .order = Order::kForward, .shared_memory = 0}}) {
        emulated_gpu() = gpu;
        const Tensors got = outputs_and_gradients(op_case.fused, op_case.inputs, type, torch::kCPU);
        for (size_t i = 0; i < got.size(); ++i)
          EXPECT_TRUE(torch::equal(got[i], expected[i])) << op_case.name << " " << i;
      }
    }
  }
  emulated_gpu() = {};
}

// Ranks with and without a GPU round the same way: random bits depend on no device. (Sums that nothing rounds away:
// with both betas 0 the compilers' freedom to fuse multiplication and addition changes nothing.)
TEST(EmulatedGpu, StochasticRoundingGivesTheBitsOfTheCpu) {
  constexpr int64_t kSize = 1003;
  const AdamWOptions options{.beta1 = 0, .beta2 = 0, .step = 3, .stochastic_rounding = true, .seed = 5};
  const auto moments_after_a_step = [&](bool emulated) {
    AdamWBuffers buffers;
    buffers.param = numbers(1, kSize);
    buffers.grad = numbers(2, kSize);
    buffers.exp_avg = torch::zeros({kSize}, torch::kBFloat16);
    buffers.exp_avg_sq = torch::zeros({kSize}, torch::kBFloat16);
    buffers.first_element = 5;  // a shard that begins inside a group of 8
    emulated_gpu() = {.enabled = emulated, .wave = 64, .order = Order::kReverse};
    adamw_step(buffers, options);
    emulated_gpu() = {};
    return torch::cat({buffers.exp_avg, buffers.exp_avg_sq});
  };
  const Tensor gpu = moments_after_a_step(true);
  EXPECT_TRUE(torch::equal(gpu, moments_after_a_step(false)));
  EXPECT_FALSE(torch::equal(gpu.narrow(0, 0, kSize), numbers(2, kSize).to(torch::kBFloat16)));  // not nearest
}

}  // namespace
}  // namespace millrace
