// The options of LoRA on FLUX: those that all FLUX programs share, the adapters', and those of the training times.
#pragma once

#include <memory>
#include <vector>

#include "adapters/lora_options.h"
#include "diffusion/flux_run_config.h"
#include "diffusion/options/flow_objective.h"

namespace millrace {

struct FluxLoraConfig : FluxRunConfig {
  LoraConfig lora_options;             // [lora]
  FluxAdapterOptions flux_options;     // in [lora]
  FlowObjectiveConfig flow_objective;  // [objective]

  FluxLoraConfig() {
    job.task = "flux_lora";
    flow_objective.timestep_sampling = TimestepSampling::kFluxShift;
  }

  std::unique_ptr<RunConfig> clone() const override { return std::make_unique<FluxLoraConfig>(*this); }
  void describe(OptionCollector& visit) override {
    FluxRunConfig::describe(visit);
    visit.section("lora", "the adapters that are trained, on a frozen model (docs/lora.md)", lora_options);
    visit.section("lora", "", flux_options);
    visit.section("objective", "at which times the model is trained, and by which loss", flow_objective);
  }
  void check(Problems& problems) const override;
  // Also those of sd-scripts that do nothing on FLUX: named, where a run without them would pass for one with them.
  std::vector<ForeignOption> foreign_options() const override;
  // The frozen weights must be named.
  void check_trainable(Problems& problems) const override;

  const LoraConfig* lora() const override { return &lora_options; }
  const FluxAdapterOptions* flux_adapters() const override { return &flux_options; }
  FlowObjectiveConfig objective() const override { return flow_objective; }

  bool operator==(const FluxLoraConfig&) const = default;
};

}  // namespace millrace
