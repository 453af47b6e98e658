// Links: kernels
// Products of fp32 matrices at the shapes of a FLUX block, of a small Llama's and of its vocabulary: kernels/gemm_fp32
// and gemv at each CPU level and with AMX (best), and ATen's (MKL's).
//
//   build/benchmarks/micro/gemm_fp32_benchmark
#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <functional>
#include <optional>
#include <string>

#include "flops_benchmark.h"
#include "kernels/cpu_level.h"
#include "kernels/gemm_fp32/gemm_fp32.h"
#include "kernels/gemv/gemv.h"

namespace millrace {
namespace {

std::function<void()> at_level(std::optional<CpuLevel> level, const std::function<void()>& run) {
  return [=] {
    force_cpu_level(level);
    run();
    force_cpu_level(std::nullopt);
  };
}

// A layer's three products, y = x W^T, dx = dy W and dW = dy^T x.
void add_layer(int64_t rows, int64_t in, int64_t out) {
  const torch::Tensor x = torch::randn({rows, in}), dy = torch::randn({rows, out}), weight = torch::randn({out, in});
  const auto add_product = [&](const std::string& name, const torch::Tensor& a, const torch::Tensor& b) {
    const std::string shape = std::to_string(rows) + "x" + std::to_string(in) + "x" + std::to_string(out) + "/" + name;
    const double flops = 2.0 * static_cast<double>(rows * in * out);
    torch::Tensor c = torch::empty({a.size(0), b.size(1)});
    for (const std::optional<CpuLevel> level : cpu_level_choices()) {
      add(shape + "/gemm_fp32_" + cpu_level_choice_name(level), flops, at_level(level, [=] { gemm_fp32(c, a, b); }));
    }
    add(shape + "/aten", flops, [=]() mutable { at::mm_out(c, a, b); });
  };
  add_product("forward", x, weight.t());
  add_product("input_gradient", dy, weight);
  add_product("weight_gradient", dy.t(), x);
}

void add_row(int64_t in, int64_t out) {
  const std::string shape = "1x" + std::to_string(in) + "x" + std::to_string(out);
  const double flops = 2.0 * static_cast<double>(in * out);
  const torch::Tensor x = torch::randn({in}), weight = torch::randn({out, in});
  torch::Tensor y = torch::empty({out});
  for (const CpuLevel level : supported_cpu_levels()) {
    add(shape + "/gemv_" + cpu_level_name(level), flops, at_level(level, [=] { gemv(y, weight, x); }));
  }
  add(shape + "/aten", flops, [=]() mutable { at::mv_out(y, weight, x); });
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  millrace::add_layer(1024, 768, 3072);
  millrace::add_layer(1024, 768, 768);
  millrace::add_layer(2048, 576, 1536);
  millrace::add_layer(2048, 576, 192);
  millrace::add_layer(256, 576, 49152);
  millrace::add_row(576, 1536);
  millrace::add_row(576, 49152);
  benchmark::RunSpecifiedBenchmarks();
}
