#include "plan/remedies.h"

#include "base/log.h"
#include "base/text.h"
#include "config/optimizer_rules.h"
#include "plan/offload_choice.h"

namespace millrace {

std::string first_obstacle(const RunPlan& plan) {
  int64_t sum = 0;
  for (const auto& [name, bytes] : plan.memory().parts) {
    sum += bytes;
    if (sum <= plan.usable_bytes()) continue;
    return str(name, ": ", human_bytes(static_cast<uint64_t>(bytes)), ", together ",
               human_bytes(static_cast<uint64_t>(sum)), " of ", human_bytes(static_cast<uint64_t>(plan.usable_bytes())),
               " usable (peak ", human_bytes(static_cast<uint64_t>(plan.memory().peak_bytes)), ")");
  }
  return {};
}

std::vector<PlanRemedy> remedy_candidates(const RunConfig& config, const PlanOptions& options, const PlannedTask& task,
                                          const PlannedStep& step) {
  std::vector<PlanRemedy> list;
  const auto recompute = [](const char* mode) {
    return PlanRemedy{str("--activation_checkpoint.mode=", mode),
                      [mode](RunConfig& c) { c.activation_checkpoint.mode = mode; }};
  };
  if (config.activation_checkpoint.mode == "none") list.push_back(recompute("selective"));
  if (config.activation_checkpoint.mode != "full") list.push_back(recompute("full"));
  for (PlanRemedy& remedy : task.remedies()) list.push_back(std::move(remedy));
  const std::string offload = offload_setting(config);
  if (!options.on_cpu && task.frozen_blocks() > 0 && offload != str(task.frozen_blocks())) {
    list.push_back({"--lora.offload_blocks=auto", [](RunConfig& c) { set_offload(c, "auto"); }});
  }
  // Helps with mode full alone, which is above.
  if (!options.on_cpu && !config.activation_checkpoint.offload) {
    list.push_back(
        {"--activation_checkpoint.offload=true", [](RunConfig& c) { c.activation_checkpoint.offload = true; }});
  }
  const bool sets_batch = task.batch_of_data(step.data_size()) == 0;  // else the data does
  for (int64_t batch = step.batch / 2; batch >= 1 && sets_batch; batch /= 2) {
    const int64_t global = step.batch * step.microbatches * step.data_size();
    if (global % (batch * step.data_size()) != 0) continue;
    list.push_back(
        {str("--training.local_batch_size=", batch, " --training.global_batch_size=", global), [=](RunConfig& c) {
           c.training.local_batch_size = batch;
           c.training.global_batch_size = global;
         }});
  }
  if (step.microbatches > 1 && step.data_size() > 1 && !step.placement.reduce_every_microbatch) {
    list.push_back({"--parallelism.reduce_every_microbatch=true",
                    [](RunConfig& c) { c.parallelism.reduce_every_microbatch = true; }});
  }
  if (step.microbatches > 1 && step.data_size() == 1 && !step.placement.narrow_sums &&
      step.placement.compute_dtype == torch::kBFloat16) {
    list.push_back(
        {"--training.accumulate_dtype=bfloat16", [](RunConfig& c) { c.training.accumulate_dtype = "bfloat16"; }});
  }
  if (step.mesh.dp_replicate > 1) {
    list.push_back(
        {str("--parallelism.data_parallel_replicate_degree=1 ", "--parallelism.data_parallel_shard_degree=-1"),
         [](RunConfig& c) {
           c.parallelism.data_parallel_replicate_degree = 1;
           c.parallelism.data_parallel_shard_degree = -1;
         }});
  }
  for (const int tp : {2, 4, 8}) {
    const int64_t split = int64_t{tp} * step.mesh.dp_replicate;
    if (step.mesh.tp > 1 || task.num_heads() % tp != 0 || options.gpus % split != 0) continue;
    list.push_back({str("--parallelism.tensor_parallel_degree=", tp, " --parallelism.data_parallel_shard_degree=-1"),
                    [tp](RunConfig& c) {
                      c.parallelism.tensor_parallel_degree = tp;
                      c.parallelism.data_parallel_shard_degree = -1;
                    }});
  }
  if (step.mesh.size() == 1 && step.microbatches == 1 && task.frozen_blocks() == 0 &&
      optimizer_rule(config.optimizer.name).has("in_backward") && !config.optimizer.in_backward.value_or(false)) {
    list.push_back({str("--optimizer.in_backward=true --training.max_norm=", kUnlimitedNorm),
                    [](RunConfig& c) {
                      c.optimizer.in_backward = true;
                      c.training.max_norm = kUnlimitedNorm;
                    },
                    /*not_with=*/"--training.local_batch_size"});
  }
  if (config.training.dtype != Precision::kBFloat16 && step.placement.compute_dtype == torch::kBFloat16) {
    list.push_back({"--training.dtype=bfloat16", [](RunConfig& c) { c.training.dtype = Precision::kBFloat16; }});
  }
  return list;
}

std::vector<std::string> find_remedies(const RunConfig& config, const std::vector<PlanRemedy>& all,
                                       const std::function<bool(const RunConfig& changed)>& fits) {
  std::vector<std::string> found;
  bool smaller_batch = false;
  for (const PlanRemedy& remedy : all) {
    const bool changes_batch = starts_with(remedy.text, "--training.local_batch_size");
    if (changes_batch && smaller_batch) continue;  // the largest that fits is enough
    const std::unique_ptr<RunConfig> changed = config.clone();
    remedy.apply(*changed);
    if (!fits(*changed)) continue;
    smaller_batch = smaller_batch || changes_batch;
    found.push_back(remedy.text);
  }
  const std::unique_ptr<RunConfig> changed = config.clone();
  std::string text;
  const auto option = [&](size_t number) { return all[number].text.substr(0, all[number].text.find('=')); };
  for (size_t i = 0; found.empty() && i < all.size(); ++i) {
    const std::string& other = all[i].not_with;
    if (!other.empty() && text.find(other) != std::string::npos) continue;
    all[i].apply(*changed);
    const std::string with_this = text + (text.empty() ? "" : " ") + all[i].text;
    if (fits(*changed)) found.push_back(with_this);
    const bool is_replaced = i + 1 < all.size() && option(i + 1) == option(i);
    if (!is_replaced) text = with_this;
  }
  return found;
}

}  // namespace millrace
