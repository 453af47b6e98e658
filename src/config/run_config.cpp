#include "config/run_config.h"

#include "base/error.h"
#include "base/log.h"
#include "config/lr_schedule_rules.h"
#include "config/optimizer_rules.h"

namespace millrace {
namespace {

void check_training(const RunConfig& config, Problems& problems) {
  const TrainingConfig& training = config.training;
  if (training.global_batch_size == 0) {
    problems.add("training.global_batch_size", "expected -1 or at least 1, got 0");
  } else if (training.global_batch_size > 0 && training.global_batch_size % training.local_batch_size != 0) {
    problems.add("training.global_batch_size", str("expected a multiple of training.local_batch_size (",
                                                   training.local_batch_size, "), got ", training.global_batch_size));
  }
  if (config.optimizer.stochastic_rounding.value_or(false) && training.dtype != Precision::kBFloat16) {
    problems.add("optimizer.stochastic_rounding", "expected training.dtype = \"bfloat16\" with it, got \"" +
                                                      std::string(choice_text(training.dtype)) + "\"");
  }
}

void check_activation_checkpoint(const ActivationCheckpointConfig& recompute, Problems& problems) {
  if (!recompute.offload || recompute.mode == "full") return;
  problems.add("activation_checkpoint.offload",
               "expected activation_checkpoint.mode = \"full\" with it, which keeps nothing but the inputs of blocks, "
               "got \"" +
                   recompute.mode + "\"");
}

void check_profiling(const ProfilingConfig& profiling, Problems& problems) {
  if (!profiling.enable_profiling || profiling.wait_steps) return;
  const int64_t used = profiling.warmup_steps + profiling.active_steps;
  if (profiling.profile_freq < used) {
    problems.add("profiling.profile_freq",
                 str("expected at least warmup_steps + active_steps = ", used, ", got ", profiling.profile_freq));
  }
}

}  // namespace

void RunConfig::describe(OptionCollector& visit) {
  visit.section("job", "the run as a whole", job);
  visit.section("training", "data and steps", training);
  visit.section("optimizer", "the update rule and its options", optimizer);
  visit.section("lr_scheduler", "the learning rate through the run", lr_scheduler);
  visit.section("validation", "the validation loss ([eval] of the MLPerf files is the same section)", validation);
  visit.section("checkpoint", "saving and resuming", checkpoint);
  visit.section("activation_checkpoint", "less memory for more computation", activation_checkpoint);
  visit.section("parallelism", "how the run is spread over ranks", parallelism);
  visit.section("comm", "how ranks find and watch each other", comm);
  visit.section("metrics", "what is logged", metrics);
  visit.section("profiling", "traces of single steps", profiling);
  visit.section("report", "the page that summarises the run", report);
}

namespace {

// What needs all gradients at once.
void check_in_backward(const RunConfig& config, Problems& problems) {
  if (!config.optimizer.in_backward.value_or(false)) return;
  const TrainingConfig& training = config.training;
  if (training.max_norm < kUnlimitedNorm) {
    problems.add("optimizer.in_backward",
                 str("expected training.max_norm = 1e30 with it, since the norm of all gradients is known too late to "
                     "scale them, got ",
                     training.max_norm));
  }
  if (training.global_batch_size > training.local_batch_size) {
    problems.add("optimizer.in_backward",
                 str("expected one microbatch a step with it, got training.global_batch_size ",
                     training.global_batch_size, " of ", training.local_batch_size, " at a time"));
  }
}

}  // namespace

void RunConfig::check(Problems& problems) const {
  if (training.random_seed && training.seed) {
    problems.add("training.random_seed",
                 str("expected random_seed or a seed, got both, and the seed ", *training.seed));
  }
  check_training(*this, problems);
  check_optimizer(optimizer, problems);
  check_lr_schedule(lr_scheduler, problems);
  check_in_backward(*this, problems);
  check_activation_checkpoint(activation_checkpoint, problems);
  check_profiling(profiling, problems);
  if (validation.steps == 0) problems.add("validation.steps", "expected -1 or at least 1, got 0");
  if (validation.patience > 0 && !validation.enable) {
    problems.add("validation.patience", "expected validation.enable with it, got a run that does not validate");
  }
  if (checkpoint.keep_best && !(checkpoint.enable && validation.enable)) {
    problems.add("checkpoint.keep_best", str("expected checkpoint.enable and validation.enable with it, got a run that "
                                             "does not ",
                                             checkpoint.enable ? "validate" : "save checkpoints"));
  }
  if (parallelism.data_parallel_shard_degree == 0) {
    problems.add("parallelism.data_parallel_shard_degree", "expected -1 or at least 1, got 0");
  }
}

void RunConfig::check_trainable(Problems&) const {}

void require_trainable(const RunConfig& config) {
  Problems problems;
  config.check_trainable(problems);
  problems.throw_if_any();
}

namespace {

Problems mesh_problems(const RunConfig& config, int64_t world_size) {
  const bool in_backward = config.optimizer.in_backward.value_or(false);
  const int64_t replicate = config.parallelism.data_parallel_replicate_degree;
  const int64_t shard = config.parallelism.data_parallel_shard_degree;
  const int64_t tp = config.parallelism.tensor_parallel_degree;
  Problems problems;
  if (in_backward && world_size > 1) {
    problems.add("optimizer.in_backward", str("expected false with several ranks, got true and ", world_size));
  }
  if (tp > world_size || world_size % tp != 0) {
    problems.add("parallelism.tensor_parallel_degree",
                 str("expected a divisor of the number of ranks, ", world_size, ", got ", tp));
  } else {
    const int64_t data_ranks = world_size / tp;
    const std::string ranks = tp == 1 ? str("the number of ranks, ", world_size)
                                      : str("ranks / tensor_parallel_degree, ", world_size, " / ", tp);
    const bool fits = shard == -1 ? data_ranks % replicate == 0
                                  : replicate <= data_ranks && shard <= data_ranks && replicate * shard == data_ranks;
    if (!fits) {
      const std::string product =
          shard == -1 ? "a divisor of " : str("times data_parallel_shard_degree (", shard, ") to be ");
      problems.add("parallelism.data_parallel_replicate_degree", str("expected ", product, ranks, ", got ", replicate));
    }
  }
  return problems;
}

}  // namespace

MeshDegrees mesh_degrees(const RunConfig& config, int64_t world_size) {
  mesh_problems(config, world_size).throw_if_any();
  const int64_t replicate = config.parallelism.data_parallel_replicate_degree;
  const int64_t shard = config.parallelism.data_parallel_shard_degree;
  const int64_t tp = config.parallelism.tensor_parallel_degree;
  const int64_t sharing = shard == -1 ? world_size / tp / replicate : shard;
  return {
      .dp_replicate = static_cast<int>(replicate), .dp_shard = static_cast<int>(sharing), .tp = static_cast<int>(tp)};
}

void fit_mesh(RunConfig& config, int64_t world_size) {
  if (mesh_problems(config, world_size).empty()) return;
  config.parallelism.data_parallel_replicate_degree = 1;
  config.parallelism.data_parallel_shard_degree = -1;
  config.parallelism.tensor_parallel_degree = 1;
}

void check_ranks(const RunConfig& config, int64_t world_size) {
  const MeshDegrees degrees = mesh_degrees(config, world_size);
  Problems problems;
  const int64_t micro_batch = config.training.local_batch_size * degrees.dp_replicate * degrees.dp_shard;
  if (config.training.global_batch_size > 0 && config.training.global_batch_size % micro_batch != 0) {
    problems.add("training.global_batch_size", str("expected a multiple of local_batch_size times the data ranks (",
                                                   micro_batch, "), got ", config.training.global_batch_size));
  }
  problems.throw_if_any();
}

}  // namespace millrace
