#include "tasks/flux/flux_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "diffusion/flux_run_config.h"
#include "models/flux/flops.h"
#include "plan/planner.h"
#include "plan/step_memory.h"
#include "tasks/flux/flux_work.h"
#include "tasks/flux_lora/flux_lora_config.h"

namespace millrace {
namespace {

constexpr int64_t kImageTokens = 16, kTextTokens = 8;

FluxRunConfig small_config() {
  FluxRunConfig config;
  config.model.hidden_size = 128;
  config.model.num_heads = 2;
  config.model.depth = 2;
  config.model.depth_single_blocks = 3;
  config.model.context_in_dim = 32;
  config.model.vec_in_dim = 16;
  config.model.axes_dim = {16, 24, 24};
  config.training_pictures.img_size = 64;
  config.encoder.max_t5_encoding_len = kTextTokens;
  return config;
}

PlannedStep small_step() {
  PlannedStep step;
  step.placement.compute_dtype = torch::kBFloat16;
  step.placement.device = torch::kMeta;
  step.placement.training = true;
  return step;
}

StepMemory measure(const PlannedStep& step) {
  const FluxRunConfig config = small_config();
  return measure_step(config, *plan_flux(config, /*on_cpu=*/false), step);
}

int64_t padded_size(const StepMemory& memory) {
  int64_t size = 0;
  for (const ParameterUnit& unit : memory.units) size += unit.size;
  return size;
}

TEST(FluxPlan, OneRankHoldsEverythingAndSendsNothing) {
  const StepMemory memory = measure(small_step());
  const int64_t n = padded_size(memory);
  EXPECT_EQ(memory.parameters, n * (2 + 4));  // bf16 and fp32 masters
  EXPECT_EQ(memory.gradients, n * 2);
  EXPECT_EQ(memory.optimizer, n * 8);
  EXPECT_EQ(memory.collective_buffers, 0);
  EXPECT_GT(memory.activations(), 0);
  EXPECT_TRUE(memory.traffic.empty());
}

TEST(FluxPlan, ShardedBytesAndTrafficAreThoseOfTheLayout) {
  PlannedStep step = small_step();
  step.mesh = {.dp_replicate = 2, .dp_shard = 4};
  const StepMemory memory = measure(step);
  const int64_t n = padded_size(memory);
  EXPECT_EQ(memory.parameters, n / 4 * (2 + 4));
  EXPECT_EQ(memory.gradients, n / 4 * 4);
  EXPECT_EQ(memory.optimizer, n / 4 * 8);
  EXPECT_GT(memory.collective_buffers, 0);
  std::map<MeshAxis, Traffic> traffic;
  for (const GroupTraffic& group : memory.traffic) traffic[group.axis] = group.traffic;
  // Gathered forward and backward in bf16; the last unit stays for the backward pass, which begins with it.
  const int64_t gathered = 2 * n - memory.units.back().size;
  EXPECT_EQ(traffic[MeshAxis::kShard][Collective::kAllGather].sent_bytes, gathered * 2 * 3 / 4);
  EXPECT_EQ(traffic[MeshAxis::kShard][Collective::kReduceScatter].sent_bytes, n * 4 * 3 / 4);
  EXPECT_EQ(traffic[MeshAxis::kReplicate][Collective::kAllReduce].sent_bytes, n / 4 * 4 * 2 / 2);
}

TEST(FluxPlan, RecomputingTakesLessMemory) {
  PlannedStep step = small_step();
  step.batch = 8;
  std::map<std::string, int64_t> activations;
  for (const char* mode : {"none", "selective", "full"}) {
    step.recompute = mode;
    activations[mode] = measure(step).activations();
  }
  EXPECT_GT(activations["none"], activations["selective"]);
  EXPECT_GT(activations["selective"], activations["full"]);
}

TEST(FluxPlan, InputsInHostMemoryTakeTwoBuffers) {
  PlannedStep step = small_step();
  step.batch = 64;
  step.recompute = "full";
  const StepMemory resident = measure(step);
  EXPECT_TRUE(resident.input_bytes.empty());
  step.offload_inputs = true;
  const StepMemory memory = measure(step);
  // Two double and three single blocks, of text and image.
  const int64_t input = step.batch * (kImageTokens + kTextTokens) * 128 * 2;
  EXPECT_EQ(memory.inputs_on_host(), 5 * input);
  EXPECT_EQ(std::count(memory.input_bytes.begin(), memory.input_bytes.end(), input), 5);
  EXPECT_NEAR(resident.peak - memory.peak, 3 * input, 0.5 * input);
  EXPECT_EQ(memory.kept(), resident.kept());
  // Nothing else has inputs alone.
  step.recompute = "selective";
  EXPECT_TRUE(measure(step).input_bytes.empty());
}

// The small model with LoRA of rank 4 on its blocks.
StepMemory measure_lora(const PlannedStep& step, const std::string& offload_blocks = "0") {
  FluxLoraConfig config;
  static_cast<FluxRunConfig&>(config) = small_config();
  config.lora_options.rank = 4;
  config.lora_options.offload_blocks = offload_blocks;
  return measure_step(config, *plan_flux(config, /*on_cpu=*/false), step);
}

TEST(FluxPlan, LoraTrainsLittleBesideWeightsThatAreFrozen) {
  const StepMemory whole = measure(small_step()), lora = measure_lora(small_step());
  EXPECT_EQ(lora.frozen, padded_size(whole) * 2);  // bf16, without masters
  EXPECT_EQ(padded_size(lora), padded_size(whole)) << "the units are the model's";
  EXPECT_LT(lora.num_parameters, whole.num_parameters / 5);
  EXPECT_EQ(lora.optimizer, lora.adapter_size * 8);
  EXPECT_LT(lora.peak, whole.peak);
  EXPECT_GT(lora.activations(), 0);
}

TEST(FluxPlan, OffloadedBlocksTakeTwoBuffers) {
  const StepMemory resident = measure_lora(small_step());
  EXPECT_TRUE(resident.host_bytes.empty());
  int64_t before = 0;
  for (const char* blocks : {"1", "3", "5"}) {
    const StepMemory memory = measure_lora(small_step(), blocks);
    int64_t on_host = 0;
    for (const int64_t bytes : memory.host_bytes) on_host += bytes;
    EXPECT_GT(on_host, before);
    before = on_host;
    EXPECT_NEAR(memory.frozen + on_host, resident.frozen, 0.01 * resident.frozen) << "up to the units' padding";
    EXPECT_EQ(memory.offload_buffers, 2 * *std::max_element(memory.host_bytes.begin(), memory.host_bytes.end()));
    EXPECT_NEAR(memory.peak - memory.frozen - memory.offload_buffers, resident.peak - resident.frozen,
                0.01 * resident.peak);
    EXPECT_EQ(memory.optimizer, resident.optimizer);
  }
}

TEST(FluxPlan, LoraOnManyRanksGathersAllWeightsAndReducesItsOwn) {
  PlannedStep step = small_step();
  step.mesh = {.dp_replicate = 1, .dp_shard = 4};
  const StepMemory memory = measure_lora(step);
  const int64_t n = padded_size(memory), a = memory.adapter_size;
  EXPECT_EQ(memory.frozen, n / 4 * 2);
  EXPECT_EQ(memory.optimizer, a / 4 * 8);
  std::map<MeshAxis, Traffic> traffic;
  for (const GroupTraffic& group : memory.traffic) traffic[group.axis] = group.traffic;
  // The model's last unit, and the adapters' only one, stay for the backward pass.
  const int64_t gathered = 2 * n - memory.units.back().size + a;
  EXPECT_EQ(traffic[MeshAxis::kShard][Collective::kAllGather].sent_bytes, gathered * 2 * 3 / 4);
  EXPECT_EQ(traffic[MeshAxis::kShard][Collective::kReduceScatter].sent_bytes, a * 4 * 3 / 4);
}

TEST(FluxWork, FrozenWeightsHaveNoGradientProducts) {
  const StepMemory memory = measure_lora(small_step());
  flux::FluxConfig model;
  model.hidden_size = 128;
  model.num_heads = 2;
  model.depth = 2;
  model.depth_single_blocks = 3;
  const FluxWorkSizes sizes{model, 3, kImageTokens, kTextTokens, Keep::kAll, 1, 2, /*frozen=*/true};
  double flops = 0;
  for (const auto& stages : {forward_stages(sizes, memory.units), backward_stages(sizes, memory.units)}) {
    for (const StageWork& stage : stages) {
      if (stage.name.find("_blocks.") != std::string::npos) flops += stage.gemm_flops + stage.attention_flops;
    }
  }
  EXPECT_NEAR(flops / (3 * flux::train_flops_per_sample(model, kImageTokens, kTextTokens, /*frozen=*/true)), 1, 1e-12);
}

TEST(FluxWork, BlocksComputeWhatTheFlopCountSays) {
  const StepMemory memory = measure(small_step());
  flux::FluxConfig model;
  model.hidden_size = 128;
  model.num_heads = 2;
  model.depth = 2;
  model.depth_single_blocks = 3;
  FluxWorkSizes sizes{model, 3, kImageTokens, kTextTokens, Keep::kAll, 1, 2};
  const auto blocks = [&](const std::vector<StageWork>& stages) {
    double flops = 0;
    for (const StageWork& stage : stages) {
      if (stage.name.find("_blocks.") != std::string::npos) flops += stage.gemm_flops + stage.attention_flops;
    }
    return flops;
  };
  const double expected = 3 * flux::train_flops_per_sample(model, kImageTokens, kTextTokens);
  const double forward = blocks(forward_stages(sizes, memory.units));
  EXPECT_NEAR((forward + blocks(backward_stages(sizes, memory.units))) / expected, 1, 1e-12);
  sizes.keep = Keep::kInputs;
  EXPECT_NEAR((forward + blocks(backward_stages(sizes, memory.units))) / expected, 4.0 / 3, 1e-12);
}

TEST(FluxPlan, AccumulationInFp32TakesFourBytesAParameterAndInBf16None) {
  PlannedStep step = small_step();
  step.placement.without_masters = true;
  step.microbatches = 3;
  const StepMemory wide = measure(step);
  step.placement.narrow_sums = true;
  const StepMemory narrow = measure(step);
  const int64_t n = padded_size(wide);
  EXPECT_EQ(wide.gradients, n * (2 + 4));
  EXPECT_EQ(narrow.gradients, n * 2);
  EXPECT_LT(narrow.peak, wide.peak - 2 * n);  // two units in use at a time
}

TEST(FluxPlan, ReducingEveryMicrobatchTakesTrafficInsteadOfMemory) {
  PlannedStep step = small_step();
  step.mesh = {.dp_shard = 4};
  step.microbatches = 2;
  const StepMemory kept = measure(step);
  step.placement.reduce_every_microbatch = true;
  const StepMemory reduced = measure(step);
  const int64_t n = padded_size(kept);
  EXPECT_LT(reduced.peak, kept.peak - 2 * n);
  const auto reduce_bytes = [](const StepMemory& memory) {
    for (const GroupTraffic& group : memory.traffic) {
      if (group.axis == MeshAxis::kShard) return group.traffic[Collective::kReduceScatter].sent_bytes;
    }
    return int64_t{0};
  };
  EXPECT_EQ(reduce_bytes(kept), n * 4 * 3 / 4);
  EXPECT_EQ(reduce_bytes(reduced), 2 * reduce_bytes(kept));
}

// A run that only the sums keep from fitting: the plan names the option.
TEST(FluxPlan, AccumulationThatDoesNotFitHasItsOptionAsRemedy) {
  FluxRunConfig config = small_config();
  config.training.dtype = Precision::kBFloat16;
  config.training.local_batch_size = 1;
  config.activation_checkpoint.mode = "full";
  PlanOptions options;
  options.gpu = find_gpu("h100-80gb");
  for (const int gpus : {1, 4}) {
    options.gpus = options.gpus_per_node = gpus;
    config.training.accumulate_dtype = "float32";
    config.training.global_batch_size = 2 * gpus;
    const auto peak_with = [&](bool better) {
      FluxRunConfig changed = config;
      changed.training.accumulate_dtype = better ? "bfloat16" : "float32";
      changed.parallelism.reduce_every_microbatch = better;
      return plan_run(changed, options, plan_flux).memory().peak_bytes;
    };
    const int64_t most = (peak_with(false) + peak_with(true)) / 2;
    PlanOptions small = options;
    const int64_t usable = plan_run(config, options, plan_flux).usable_bytes();
    // On a GPU with that much less memory, 3 % of which are reserved.
    small.gpu.memory_gib -= static_cast<double>(usable - most) / 0.97 / (1 << 30);
    const RunPlan plan = plan_run(config, small, plan_flux);
    EXPECT_FALSE(plan.fits());
    const std::string wanted =
        gpus == 1 ? "--training.accumulate_dtype=bfloat16" : "--parallelism.reduce_every_microbatch=true";
    EXPECT_NE(std::find(plan.remedies.begin(), plan.remedies.end(), wanted), plan.remedies.end()) << gpus;
  }
}

TEST(FluxPlan, DegreesMustMakeUpTheRanks) {
  FluxRunConfig config;
  config.parallelism.data_parallel_replicate_degree = 2;
  PlanOptions options;
  options.gpus = 3;
  options.gpu = find_gpu("h100");
  EXPECT_THROW(plan_run(config, options, plan_flux), ConfigError);
}

}  // namespace
}  // namespace millrace
