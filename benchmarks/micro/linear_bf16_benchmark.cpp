// Links: kernels
// Products of bf16 matrices at the shapes of T5-XXL and of CLIP-L's text model: kernels/linear_bf16 against ATen's
// linear (oneDNN's), with what follows them.
//
//   build/benchmarks/micro/linear_bf16_benchmark
#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <cstdio>
#include <string>
#include <tuple>

#include "flops_benchmark.h"
#include "kernels/cpu_level.h"
#include "kernels/linear_bf16/linear_bf16.h"

namespace millrace {
namespace {

void add_shape(int64_t rows, int64_t depth, int64_t columns) {
  const std::string shape = std::to_string(rows) + "x" + std::to_string(depth) + "x" + std::to_string(columns);
  const double flops = 2.0 * static_cast<double>(rows * depth * columns);
  const auto random = [](at::IntArrayRef sizes) { return torch::randn(sizes).to(torch::kBFloat16); };
  const torch::Tensor x = random({rows, depth}), weight = random({columns, depth}), gate = random({columns, depth});
  const torch::Tensor residual = random({rows, columns}), y = torch::empty({rows, columns}, torch::kBFloat16);
  for (const auto& [name, layer, products] :
       {std::tuple{"plain", LinearBf16{.weight_NK = weight}, 1.0},
        {"residual", LinearBf16{.weight_NK = weight, .residual_MN = residual}, 1.0},
        {"gated", LinearBf16{.weight_NK = weight, .gate_weight_NK = gate}, 2.0}}) {
    add(shape + "/" + name + "/linear_bf16", products * flops, [=] { linear_bf16(y, x, layer); });
    add(shape + "/" + name + "/aten", products * flops,
        [=] { benchmark::DoNotOptimize(linear_bf16_reference(x, layer)); });
  }
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (!millrace::has_bf16_dot_products()) {
    std::fprintf(stderr, "linear_bf16_benchmark: expected a processor with dot products of bf16 pairs, got none\n");
    return 1;
  }
  for (const int64_t rows : {1024, 256, 16}) {
    millrace::add_shape(rows, 4096, 4096);
    millrace::add_shape(rows, 4096, 10240);
    millrace::add_shape(rows, 10240, 4096);
  }
  millrace::add_shape(308, 768, 3072);
  benchmark::RunSpecifiedBenchmarks();
}
