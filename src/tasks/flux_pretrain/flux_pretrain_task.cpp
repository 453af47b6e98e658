#include "tasks/flux_pretrain/flux_pretrain_task.h"

#include "tasks/flux_pretrain/flux_pretrain_config.h"
#include "train/mlperf_listener.h"

namespace millrace {

std::unique_ptr<RunConfig> make_flux_pretrain_config() {
  auto config = std::make_unique<FluxPretrainConfig>();
  config->job.task = "flux_pretrain";
  return config;
}

std::vector<std::unique_ptr<RunListener>> make_flux_pretrain_listeners(const RunConfig& config) {
  const auto& options = dynamic_cast<const FluxPretrainConfig&>(config);
  std::vector<std::unique_ptr<RunListener>> listeners;
  if (logs_for_mlperf(config, options.mlperf_log.mlperf_logging)) {
    listeners.push_back(make_mlperf_listener(config, options.mlperf));
  }
  return listeners;
}

}  // namespace millrace
