// Links: nn kernels base
// Products with frozen weights in fewer bits at the shape of FLUX's widest layers, forward and to the input's gradient,
// and the same with dense ones: nn/quantised_weight. Rates count the product's multiplications and additions.
//
//   build/benchmarks/micro/quantised_benchmark
#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <functional>
#include <memory>
#include <string>

#include "kernels/quantised/quantise_tensor.h"
#include "nn/gemm.h"
#include "nn/quantised_weight.h"

namespace millrace {
namespace {

constexpr int64_t kRows = 3072, kColumns = 12288;

void add(const std::string& name, int64_t tokens, const std::function<void()>& run) {
  benchmark::RegisterBenchmark((name + "/" + std::to_string(tokens)).c_str(),
                               [=](benchmark::State& state) {
                                 for (auto _ : state) run();
                                 const double flops = 2.0 * static_cast<double>(tokens * kRows * kColumns);
                                 state.counters["flops"] =
                                     benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
                               })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

void add_tokens(int64_t tokens) {
  torch::manual_seed(1);
  const torch::Tensor weight_NK = torch::randn({kRows, kColumns}) * 0.02;
  const torch::Tensor x_MK = torch::randn({tokens, kColumns}), dy_MN = torch::randn({tokens, kRows});
  torch::Tensor out_MN = torch::empty({tokens, kRows}), dx_MK = torch::empty({tokens, kColumns});
  add("dense/forward", tokens, [=]() mutable { gemm(out_MN, x_MK, weight_NK.t()); });
  add("dense/backward", tokens, [=]() mutable { gemm(dx_MK, dy_MN, weight_NK); });
  const auto add_kind = [&](const std::string& name, const QuantisedTensor& matrix) {
    const auto weight = std::make_shared<QuantisedWeight>(kColumns, kRows);
    weight->assign({{.quantised = matrix, .dense_RK = {}}});
    add(name + "/forward", tokens, [=]() mutable { weight->forward(out_MN, x_MK); });
    add(name + "/backward", tokens, [=]() mutable { weight->backward_input(dx_MK, dy_MN, /*accumulate=*/false); });
  };
  add_kind("fp8", quantise(weight_NK, QuantisedAs::kFp8));
  add_kind("int8", quantise(weight_NK, QuantisedAs::kInt8));
  add_kind("nf4", quantise(weight_NK, QuantisedAs::kNf4));
  for (const BlockFormat format : {BlockFormat::kQ8_0, BlockFormat::kQ4_1, BlockFormat::kQ4_K, BlockFormat::kQ6_K}) {
    QuantisedTensor blocks{.kind = QuantisedKind::kBlocks, .format = format, .rows = kRows, .columns = kColumns};
    blocks.codes = torch::zeros({code_bytes(blocks.kind, format, kRows, kColumns)}, torch::kUInt8);
    add_kind(std::string(block_format_info(format).name), blocks);
  }
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  for (const int64_t tokens : {64, 1024}) millrace::add_tokens(tokens);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
