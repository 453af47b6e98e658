#include "metrics/step_time.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "metrics/flops.h"

namespace millrace {
namespace {

// Round numbers: 100 FLOP/s, 10 bytes/s, links of 8 and 1 bytes/s, everything attainable.
const GpuSpec kGpu{.name = "test",
                   .device = "test",
                   .bf16_flops = 100,
                   .memory_bandwidth = 10,
                   .intra_bandwidth = 8,
                   .inter_bandwidth = 1};
const Attainable kAll{.gemm = 1, .attention = 1, .memory = 1, .network = 1, .launch_seconds = 0.5, .hop_seconds = 0};

StageWork stage(double seconds, double gather = 0, double reduce = 0) {
  return {.name = "", .gemm_flops = 100 * seconds, .gather_seconds = gather, .reduce_seconds = reduce};
}

TEST(StepTime, WorkAddsUpAndLaunchesAreItsFloor) {
  EXPECT_DOUBLE_EQ(compute_seconds({.gemm_flops = 100, .attention_flops = 50, .memory_bytes = 5}, kGpu, kAll), 2);
  EXPECT_DOUBLE_EQ(compute_seconds({.gemm_flops = 100, .launches = 10}, kGpu, kAll), 5);
}

TEST(StepTime, GathersHideBehindTheStageBefore) {
  const Timeline hidden = run_stages({stage(2, 1), stage(2, 1), stage(2, 1)}, kGpu, kAll);
  EXPECT_DOUBLE_EQ(hidden.seconds, 1 + 6);  // only the first gather is waited for
  EXPECT_DOUBLE_EQ(hidden.exposed_seconds(), 1);
  const Timeline slow = run_stages({stage(1, 3), stage(1, 3), stage(1, 3)}, kGpu, kAll);
  EXPECT_DOUBLE_EQ(slow.seconds, 3 * 3 + 1);  // the network is the bottleneck, the last stage computes behind it
}

TEST(StepTime, ReductionsHideBehindTheStageBehind) {
  const Timeline hidden = run_stages({stage(2, 0, 1), stage(2, 0, 1)}, kGpu, kAll);
  EXPECT_DOUBLE_EQ(hidden.seconds, 4 + 1);
  const Timeline slow = run_stages({stage(1, 0, 5), stage(1, 0, 5)}, kGpu, kAll);
  EXPECT_DOUBLE_EQ(slow.seconds, 1 + 5 + 5);
}

TEST(StepTime, SumsInsideAStageAreNotHidden) {
  StageWork work = stage(1);
  work.blocking_seconds = 0.25;
  const Timeline line = run_stages({work, work}, kGpu, kAll);
  EXPECT_DOUBLE_EQ(line.seconds, 2.5);
  EXPECT_DOUBLE_EQ(line.blocking_seconds, 0.5);
}

TEST(StepTime, RingsUseAllNetworkCardsOfTheirRanksOnANode) {
  EXPECT_DOUBLE_EQ(ring_bandwidth({.ranks = 8, .ranks_per_node = 8}, kGpu, kAll), 8);
  EXPECT_DOUBLE_EQ(ring_bandwidth({.ranks = 16, .ranks_per_node = 4}, kGpu, kAll), 4);
  EXPECT_DOUBLE_EQ(ring_bandwidth({.ranks = 2, .ranks_per_node = 1}, kGpu, kAll), 1);
  EXPECT_DOUBLE_EQ(collective_seconds(16, {.ranks = 16, .ranks_per_node = 4}, kGpu, kAll), 4);
  EXPECT_DOUBLE_EQ(collective_seconds(16, {.ranks = 1, .ranks_per_node = 1}, kGpu, kAll), 0);
}

TEST(Hardware, NamesAreFoundWithAndWithoutTheirMemory) {
  EXPECT_EQ(find_gpu("H100-80GB").name, "h100-80gb");
  EXPECT_EQ(find_gpu("h100").name, "h100-80gb");
  EXPECT_EQ(find_gpu("mi355x").name, "mi355x-288gb");
  EXPECT_THROW(find_gpu("h1000"), ConfigError);
}

TEST(Hardware, EveryEntryIsWholeAndGivesThePeakForMfu) {
  for (const GpuSpec& gpu : gpu_table()) {
    EXPECT_GT(gpu.memory_gib, 7) << gpu.name;
    EXPECT_GT(gpu.bf16_flops, 2e13) << gpu.name;
    EXPECT_GT(gpu.memory_bandwidth, 2e11) << gpu.name;
    EXPECT_GE(gpu.intra_bandwidth, gpu.inter_bandwidth) << gpu.name;
    EXPECT_EQ(peak_flops(gpu.device), gpu.bf16_flops) << gpu.name;
  }
}

}  // namespace
}  // namespace millrace
