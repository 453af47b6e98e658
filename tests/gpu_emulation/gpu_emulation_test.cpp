// Every GPU kernel, run on a CPU, against its reference: in waves of 32 and 64 threads, and whatever thread comes
// first.
#include <gtest/gtest.h>

#include <limits>

#include "kernels/adamw/adamw.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/gate_residual/gate_residual.h"
#include "kernels/gelu/gelu.h"
#include "kernels/global_norm/global_norm.h"
#include "kernels/gpu_emulation.h"
#include "kernels/norm_modulate/norm_modulate.h"
#include "kernels/op_check.h"
#include "kernels/philox_fill/philox_fill.h"
#include "kernels/qk_norm_rope/qk_norm_rope.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rotary/rotary.h"
#include "kernels/self_check.h"
#include "kernels/swiglu/swiglu.h"

namespace millrace {
namespace {

using torch::Tensor;
using Order = EmulatedGpu::Order;

Tensor random_tensor(uint64_t id, const std::vector<int64_t>& sizes) {
  const Tensor x = torch::empty(sizes, torch::kFloat32);
  philox_fill_normal_reference(x.view({1, -1}), {random_stream(7, RandomPurpose::kInit, 0, id)});
  return x.to(torch::kFloat64);
}

OpCase qk_case(int64_t heads, int64_t head_dim) {
  constexpr int64_t kBatch = 2, kLength = 35;  // 35: chunks of different lengths
  const Tensor angle = random_tensor(9, {kLength, head_dim / 2});
  const Tensor cos = angle.cos().to(torch::kFloat32), sin = angle.sin().to(torch::kFloat32);
  const auto with = [=](auto op) {
    return [=](const Tensors& in) -> Tensors {
      const auto [q, k, v] = op(in[0], in[3], in[1], in[2], cos, sin, heads, 1e-6);
      return {q, k, v};
    };
  };
  return {"qk_norm_rope of " + std::to_string(head_dim),
          {random_tensor(0, {kBatch, kLength, 3 * heads * head_dim}), random_tensor(1, {head_dim}) + 1,
           random_tensor(2, {head_dim}) + 1, random_tensor(3, {3 * heads * head_dim})},
          with(qk_norm_rope),
          with(qk_norm_rope_reference)};
}

// Sizes that allow packs of 16 bytes (standard_op_cases() has odd ones): rows of more packs than a block has threads,
// and of fewer; more rows than a chunk.
std::vector<OpCase> packed_op_cases() {
  std::vector<OpCase> cases;
  for (const int64_t dim : {1032, 56}) {
    constexpr int64_t kBatch = 2, kLength = 19;
    const Tensor x = random_tensor(0, {kBatch, kLength, dim}) + 0.5, y = random_tensor(1, {kBatch, kLength, dim});
    const Tensor gate = random_tensor(2, {kBatch, dim}), shift = random_tensor(3, {kBatch, dim});
    const Tensor scale = random_tensor(4, {kBatch, dim}), bias = random_tensor(5, {dim});
    const std::string suffix = " of " + std::to_string(dim);
    cases.push_back({"norm_modulate" + suffix,
                     {x, shift, scale},
                     [](const Tensors& in) -> Tensors { return {norm_modulate(in[0], in[1], in[2])}; },
                     [](const Tensors& in) -> Tensors { return {norm_modulate_reference(in[0], in[1], in[2])}; }});
    cases.push_back(
        {"gate_residual" + suffix,
         {x, y, gate, bias},
         [](const Tensors& in) -> Tensors { return {gate_residual(in[0], in[1], in[2], in[3])}; },
         [](const Tensors& in) -> Tensors { return {gate_residual_reference(in[0], in[1], in[2], in[3])}; }});
    cases.push_back({"gate_residual_norm" + suffix,
                     {x, y, gate, bias, shift, scale},
                     [](const Tensors& in) -> Tensors {
                       const auto [out, n] = gate_residual_norm(in[0], in[1], in[2], in[3], in[4], in[5]);
                       return {out, n};
                     },
                     [](const Tensors& in) -> Tensors {
                       const auto [out, n] = gate_residual_norm_reference(in[0], in[1], in[2], in[3], in[4], in[5]);
                       return {out, n};
                     }});
    cases.push_back({"gelu" + suffix,
                     {x * 2, bias},
                     [](const Tensors& in) -> Tensors { return {gelu_tanh(in[0], in[1])}; },
                     [](const Tensors& in) -> Tensors { return {gelu_reference(in[0], in[1])}; }});
    cases.push_back({"add_rms_norm" + suffix,
                     {x, y, bias + 1},
                     [](const Tensors& in) -> Tensors {
                       const auto [sum, normed] = add_rms_norm(in[0], in[1], in[2], 1e-5);
                       return {sum, normed};
                     },
                     [](const Tensors& in) -> Tensors {
                       const auto [sum, normed] = add_rms_norm_reference(in[0], in[1], in[2], 1e-5);
                       return {sum, normed};
                     }});
    cases.push_back({"swiglu" + suffix,
                     {x * 2, y},
                     [](const Tensors& in) -> Tensors { return {swiglu(in[0], in[1])}; },
                     [](const Tensors& in) -> Tensors { return {swiglu_reference(in[0], in[1])}; }});
    const Tensor labels = at::arange(kBatch * kLength);
    cases.push_back({"cross_entropy" + suffix,
                     {y.flatten(0, 1)},
                     [=](const Tensors& in) -> Tensors { return {cross_entropy(in[0], labels)}; },
                     [=](const Tensors& in) -> Tensors { return {cross_entropy_reference(in[0], labels)}; }});
  }
  const Tensor angle = random_tensor(8, {35, 32});
  const Tensor cos = angle.cos().to(torch::kFloat32), sin = angle.sin().to(torch::kFloat32);
  cases.push_back({"rotary of 64",
                   {random_tensor(10, {35, 3, 64})},
                   [=](const Tensors& in) -> Tensors { return {rotate(in[0], cos, sin)}; },
                   [=](const Tensors& in) -> Tensors { return {rotate_reference(in[0], cos, sin)}; }});
  cases.push_back(qk_case(3, 128));
  cases.push_back(qk_case(2, 24));  // 6 lanes of 32 have something to do
  return cases;
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

TEST_P(OnEmulatedGpu, PacksAgreeWithTheReference) {
  for (const OpCase& op_case : packed_op_cases()) {
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
      const KernelCheckResult result = check_op(op_case, type, torch::kCPU);
      EXPECT_TRUE(result.passed()) << op_case.name << ": " << result.error << " > " << result.tolerance;
    }
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
  std::vector<OpCase> cases = packed_op_cases();
  for (OpCase& op_case : standard_op_cases(8)) cases.push_back(std::move(op_case));
  for (const OpCase& op_case : cases) {
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
    buffers.param = random_tensor(1, {kSize}).to(torch::kFloat32);
    buffers.grad = random_tensor(2, {kSize}).to(torch::kFloat32);
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
  EXPECT_FALSE(torch::equal(gpu.narrow(0, 0, kSize), random_tensor(2, {kSize}).to(torch::kBFloat16)));  // not nearest
}

}  // namespace
}  // namespace millrace
