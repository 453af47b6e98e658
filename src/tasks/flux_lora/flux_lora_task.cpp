#include "tasks/flux_lora/flux_lora_task.h"

#include "tasks/flux_lora/flux_lora_config.h"

namespace millrace {

std::unique_ptr<RunConfig> make_flux_lora_config() {
  return std::make_unique<FluxLoraConfig>();
}

const LoraConfig* flux_lora_options(const RunConfig& config) {
  return as_flux(config).lora();
}

}  // namespace millrace
