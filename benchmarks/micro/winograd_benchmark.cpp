// Links: kernels
// Norm, SiLU and 3 x 3 convolution at the shapes of FLUX's autoencoder on a picture of 256 x 256: kernels/winograd
// against ATen's operations, the latter in both layouts. Rates count the multiplications and additions of the direct
// sum, for all alike.
//
//   build/benchmarks/micro/winograd_benchmark
#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <functional>
#include <string>

#include "kernels/winograd/winograd.h"

namespace millrace {
namespace {

constexpr int64_t kGroups = 32;
constexpr double kEps = 1e-6;

void add(const std::string& name, double flops, const std::function<void()>& run) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 for (auto _ : state) run();
                                 state.counters["flops"] =
                                     benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
                               })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

void add_shape(int64_t side, int64_t in, int64_t out) {
  const std::string shape =
      std::to_string(side) + "x" + std::to_string(side) + "/" + std::to_string(in) + "-" + std::to_string(out);
  const double flops = 18.0 * static_cast<double>(side * side * in * out);
  torch::manual_seed(1);
  const torch::Tensor x_HWC = torch::randn({side, side, in}), filters = torch::randn({out, in, 3, 3}) * 0.02;
  const torch::Tensor gamma = torch::ones({in}), beta = torch::zeros({in}), bias = torch::zeros({out});
  const torch::Tensor residual_HWO = torch::randn({side, side, out}), y_HWO = torch::empty({side, side, out});
  const torch::Tensor transformed = winograd_filters(filters);
  add(shape + "/winograd", flops, [=] {
    winograd_conv3x3(x_HWC, group_norm_scale(x_HWC, kGroups, kEps, gamma, beta), transformed, bias, residual_HWO,
                     y_HWO);
  });
  add(shape + "/channels_last", flops, [=] {
    const torch::NoGradGuard no_grad;
    benchmark::DoNotOptimize(winograd_reference(x_HWC, kGroups, kEps, gamma, beta, filters, bias, residual_HWO));
  });
  const torch::Tensor x_1CHW = x_HWC.permute({2, 0, 1}).unsqueeze(0).contiguous();
  const torch::Tensor residual_1OHW = residual_HWO.permute({2, 0, 1}).unsqueeze(0).contiguous();
  add(shape + "/channels_first", flops, [=] {
    const torch::NoGradGuard no_grad;
    const torch::Tensor active = at::silu(at::group_norm(x_1CHW, kGroups, gamma, beta, kEps));
    benchmark::DoNotOptimize(at::conv2d(active, filters, bias, 1, 1) + residual_1OHW);
  });
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::add_shape(256, 128, 128);
  millrace::add_shape(128, 128, 256);
  millrace::add_shape(128, 256, 256);
  millrace::add_shape(64, 512, 512);
  millrace::add_shape(32, 512, 512);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
