#include "tasks/flux_pretrain/flux_plan.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "metrics/flops.h"
#include "tasks/flux_pretrain/flux_step_memory.h"
#include "tasks/flux_pretrain/flux_work.h"

namespace millrace {
namespace {

FluxStep small_step() {
  FluxStep step;
  step.model.hidden_size = 128;
  step.model.num_heads = 2;
  step.model.depth = 2;
  step.model.depth_single_blocks = 3;
  step.model.context_in_dim = 32;
  step.model.vec_in_dim = 16;
  step.model.axes_dim = {16, 24, 24};
  step.img_size = 64;
  step.text_tokens = 8;
  return step;
}

int64_t padded_size(const StepMemory& memory) {
  int64_t size = 0;
  for (const ParameterUnit& unit : memory.units) size += unit.size;
  return size;
}

TEST(FluxPlan, OneRankHoldsEverythingAndSendsNothing) {
  const StepMemory memory = measure_step({}, small_step());
  const int64_t n = padded_size(memory);
  EXPECT_EQ(memory.parameters, n * (2 + 4));  // bf16 and fp32 masters
  EXPECT_EQ(memory.gradients, n * 2);
  EXPECT_EQ(memory.optimizer, n * 8);
  EXPECT_EQ(memory.collective_buffers, 0);
  EXPECT_GT(memory.activations(), 0);
  EXPECT_TRUE(memory.traffic.empty());
}

TEST(FluxPlan, ShardedBytesAndTrafficAreThoseOfTheLayout) {
  FluxStep step = small_step();
  step.mesh = {.dp_replicate = 2, .dp_shard = 4};
  const StepMemory memory = measure_step({}, step);
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
  FluxStep step = small_step();
  step.batch = 8;
  std::map<flux::Keep, int64_t> activations;
  for (const flux::Keep keep : {flux::Keep::kAll, flux::Keep::kOutputs, flux::Keep::kInputs}) {
    step.keep = keep;
    activations[keep] = measure_step({}, step).activations();
  }
  EXPECT_GT(activations[flux::Keep::kAll], activations[flux::Keep::kOutputs]);
  EXPECT_GT(activations[flux::Keep::kOutputs], activations[flux::Keep::kInputs]);
}

TEST(FluxWork, BlocksComputeWhatTheFlopCountSays) {
  const FluxStep step = small_step();
  const StepMemory memory = measure_step({}, step);
  FluxWorkSizes sizes{step.model, 3, step.image_tokens(), step.text_tokens, flux::Keep::kAll, 1, 2};
  const auto blocks = [&](const std::vector<StageWork>& stages) {
    double flops = 0;
    for (const StageWork& stage : stages) {
      if (stage.name.find("_blocks.") != std::string::npos) flops += stage.gemm_flops + stage.attention_flops;
    }
    return flops;
  };
  const double expected = 3 * flux_train_flops_per_sample({128, 2, 3, 4, step.image_tokens(), step.text_tokens});
  const double forward = blocks(forward_stages(sizes, memory.units));
  EXPECT_NEAR((forward + blocks(backward_stages(sizes, memory.units))) / expected, 1, 1e-12);
  sizes.keep = flux::Keep::kInputs;
  EXPECT_NEAR((forward + blocks(backward_stages(sizes, memory.units))) / expected, 4.0 / 3, 1e-12);
}

TEST(FluxPlan, DegreesMustMakeUpTheRanks) {
  RunConfig config;
  config.parallelism.data_parallel_replicate_degree = 2;
  PlanOptions options;
  options.gpus = 3;
  options.gpu = find_gpu("h100");
  EXPECT_THROW(plan_flux_pretrain(config, options), ConfigError);
}

}  // namespace
}  // namespace millrace
