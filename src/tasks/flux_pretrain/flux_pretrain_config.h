// The options of FLUX pretraining: those shared by all FLUX programs, and those of the benchmark's log.
#pragma once

#include <memory>

#include "diffusion/flux_run_config.h"
#include "train/mlperf_config.h"

namespace millrace {

struct FluxPretrainConfig : FluxRunConfig {
  MlperfLogConfig mlperf_log;  // in [metrics]
  MlperfConfig mlperf;

  std::unique_ptr<RunConfig> clone() const override { return std::make_unique<FluxPretrainConfig>(*this); }
  void describe(OptionCollector& visit) override {
    FluxRunConfig::describe(visit);
    visit.section("metrics", "", mlperf_log);
    visit.section("mlperf", "what the MLPerf log states (docs/mlperf.md)", mlperf);
  }
  bool operator==(const FluxPretrainConfig&) const = default;
};

}  // namespace millrace
