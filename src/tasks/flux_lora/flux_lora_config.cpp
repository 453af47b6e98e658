#include "tasks/flux_lora/flux_lora_config.h"

#include "base/log.h"

namespace millrace {

void FluxLoraConfig::check(Problems& problems) const {
  FluxRunConfig::check(problems);
  check_flow_objective(flow_objective, problems);
  if (lora_options.targets.empty()) {
    problems.add("lora.targets", "expected all, attention or patterns of layer names, got none");
  }
  if (parallelism.tensor_parallel_degree > 1) {
    problems.add("parallelism.tensor_parallel_degree",
                 str("expected 1 with LoRA, got ", parallelism.tensor_parallel_degree,
                     " (data_parallel_shard_degree shards the frozen weights)"));
  }
}

void FluxLoraConfig::check_trainable(Problems& problems) const {
  FluxRunConfig::check_trainable(problems);
  if (checkpoint.initial_load_path.empty()) {
    problems.add("checkpoint.initial_load_path",
                 "expected the weights of FLUX that the adapters are trained on, got nothing");
  }
}

}  // namespace millrace
