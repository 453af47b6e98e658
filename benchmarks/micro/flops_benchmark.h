// Registers a benchmark whose rate is that of its floating-point operations.
#pragma once

#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <functional>
#include <string>

namespace millrace {

inline void add(const std::string& name, double flops, const std::function<void()>& run) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 const torch::NoGradGuard no_grad;
                                 for (auto _ : state) run();
                                 state.counters["flops"] =
                                     benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
                               })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

}  // namespace millrace
