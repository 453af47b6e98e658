// Links: kernels
// Attention in fp32, forward and backward, of FLUX and of a small Llama: kernels/attention_fp32 at each CPU level and
// with AMX (best), and ATen's.
//
//   build/benchmarks/micro/attention_fp32_benchmark
#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <cmath>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "flops_benchmark.h"
#include "kernels/attention_fp32/attention_fp32.h"
#include "kernels/cpu_level.h"

namespace millrace {
namespace {

void add_attention(int64_t batch, int64_t heads, int64_t tokens, int64_t size, bool causal) {
  const auto rows = [&] { return torch::randn({batch, tokens, heads, size}).transpose(1, 2); };
  const torch::Tensor q = rows(), k = rows(), v = rows(), dout = rows(), dq = rows(), dk = rows(), dv = rows();
  torch::Tensor out, logsumexp;
  std::tie(out, logsumexp) = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal);
  std::vector<AttentionSequence> sequences;
  std::vector<AttentionSequenceGradients> gradients;
  for (int64_t b = 0; b < batch; ++b) {
    sequences.push_back({q[b], k[b], v[b], out[b], logsumexp[b].contiguous()});
    gradients.push_back({dout[b], dq[b], dk[b], dv[b]});
  }
  const AttentionFp32Options options{.scale = 1 / std::sqrt(static_cast<double>(size)), .causal = causal};
  const std::string shape = std::to_string(batch) + "x" + std::to_string(heads) + "x" + std::to_string(tokens) + "x" +
                            std::to_string(size) + (causal ? "/causal" : "");
  const double flops = 4.0 * static_cast<double>(batch * heads * tokens * tokens * size) / (causal ? 2 : 1);
  for (const std::optional<CpuLevel> level : cpu_level_choices()) {
    const auto at_level = [level](const auto& run) {
      return [=] {
        force_cpu_level(level);
        run();
        force_cpu_level(std::nullopt);
      };
    };
    const std::string name = "/attention_fp32_" + cpu_level_choice_name(level);
    add(shape + "/forward" + name, flops, at_level([=] { attention_fp32_forward(sequences, options); }));
    add(shape + "/backward" + name, 2.5 * flops,
        at_level([=] { attention_fp32_backward(sequences, gradients, options); }));
  }
  add(shape + "/forward/aten", flops, [=] { at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal); });
  add(shape + "/backward/aten", 2.5 * flops,
      [=] { at::_scaled_dot_product_flash_attention_for_cpu_backward(dout, q, k, v, out, logsumexp, 0.0, causal); });
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  millrace::add_attention(2, 6, 512, 128, false);
  millrace::add_attention(1, 24, 1024, 128, false);
  millrace::add_attention(4, 9, 512, 64, true);
  benchmark::RunSpecifiedBenchmarks();
}
