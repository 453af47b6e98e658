// Links: metrics config formats base
// How long a run waits for its report.html at a checkpoint. MILLRACE_RUN_FOLDER names a run's folder; its report.html
// is written anew.
#include "metrics/report.h"

#include <benchmark/benchmark.h>

#include <cstdlib>

namespace {

void report(benchmark::State& state) {
  const char* folder = std::getenv("MILLRACE_RUN_FOLDER");
  if (folder == nullptr) {
    state.SkipWithError("set MILLRACE_RUN_FOLDER");
    return;
  }
  for (auto _ : state) millrace::write_report(folder, {.hardware = {}, .finished = true});
}
BENCHMARK(report)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
