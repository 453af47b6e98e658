#include "tasks/flux_lora/flux_lora_config.h"

#include "adapters/lora_rates.h"
#include "base/log.h"

namespace millrace {

void FluxLoraConfig::check(Problems& problems) const {
  FluxRunConfig::check(problems);
  check_flow_objective(flow_objective, problems);
  check_lora(lora_options, problems);
  check_lora_rates(lora_options, optimizer, problems);
  if (lora_options.base_dtype == "gguf" && !lora_options.base_weights.empty()) {
    problems.add("lora.base_weights", "expected none with the blocks of a GGUF file, got some (try base_dtype nf4)");
  }
  // The limit would act on the weights that are trained, not on those that are averaged.
  if (lora_options.scale_weight_norms &&
      (optimizer.ema_decay.value_or(0) > 0 || optimizer.name == "AdamWScheduleFree")) {
    problems.add("lora.scale_weight_norms", "expected an optimizer without averaged weights with it, got " +
                                                (optimizer.ema_decay ? "optimizer.ema_decay" : optimizer.name));
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
