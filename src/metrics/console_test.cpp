#include "metrics/console.h"

#include <gtest/gtest.h>

#include <limits>

namespace millrace {
namespace {

MemoryUse memory_of(double gib, double total_gib) {
  return {static_cast<uint64_t>(gib * kGiB), 0, static_cast<uint64_t>(total_gib * kGiB)};
}

TEST(StepLine, IsTorchtitans) {
  const WindowSpeed speed{.tokens_per_second = 4032.4, .flops = 161.104e12, .peak_flops = 989e12};
  EXPECT_EQ(step_line(700, 0.70519, memory_of(76.79, 79.19), speed),
            "step: 700  loss:  0.7052  memory: 76.79GiB(96.97%)  tps: 4,032  tflops: 161.10  mfu: 16.29%");
}

TEST(StepLine, SmallAndLargeNumbersKeepTheirColumns) {
  const WindowSpeed speed{.tokens_per_second = 1234567, .flops = 1234.5e12};
  EXPECT_EQ(step_line(1, 12.5, memory_of(1.5, 100), speed),
            "step:  1  loss: 12.5000  memory:  1.50GiB(1.50%)  tps: 1,234,567  tflops: 1,234.50  mfu: N/A");
}

TEST(StepLine, AStepWithoutALossSaysSo) {
  const std::string line = step_line(10, std::numeric_limits<double>::quiet_NaN(), memory_of(1.5, 100), {});
  EXPECT_EQ(line.substr(0, line.find("  memory")), "step: 10  loss:     N/A");
}

TEST(StepLine, OfManyRanksEndsWithTheirTotal) {
  const WindowSpeed speed{.ranks = 4, .tokens_per_second = 4032.4, .flops = 161.104e12};
  const std::string line = step_line(700, 0.70519, memory_of(76.79, 79.19), speed);
  EXPECT_EQ(line.substr(line.find("tps:")), "tps: 4,032  tflops: 161.10  mfu: N/A  total tps: 16,130 (4 ranks)");
}

TEST(StepLine, OfLanguageModelsCountsTrainedTokens) {
  const WindowSpeed speed{.ranks = 2, .tokens_per_second = 4032.4, .trained_per_second = 1210.2, .flops = 161.104e12};
  const std::string line = step_line(700, 0.70519, memory_of(76.79, 79.19), speed);
  EXPECT_EQ(line.substr(line.find("mfu:")), "mfu: N/A  trained tps: 1,210  total tps: 8,065 (2 ranks)");
}

TEST(ValidationLine, IsTorchtitans) {
  EXPECT_EQ(validation_line(7, 0.60211, memory_of(76.79, 79.19), 12288),
            "validate step:  7  loss:  0.6021  memory: 76.79GiB(96.97%)  tps: 12,288");
}

TEST(ProgressBar, ShowsWhereTheRunStands) {
  BarState state{.step = 500,
                 .total_steps = 2000,
                 .epoch = 2,
                 .loss = 0.25,
                 .seconds = 100,
                 .seconds_per_step = 0.2,
                 .samples_per_second = 12.34,
                 .tokens_per_second = 4032.4,
                 .memory_bytes = uint64_t{3} << 29};
  EXPECT_EQ(progress_bar(state, 200),
            "[######------------------] step 500/2,000  loss 0.2500  0.20 s/it  12.3 img/s  ETA 5:00  1.5 GiB");
  EXPECT_EQ(progress_bar(state, 80), "[#------] step 500/2,000  loss 0.2500  0.20 s/it  12.3 img/s  ETA 5:00  1.5 GiB")
      << "79 characters";
  EXPECT_EQ(progress_bar(state, 72), "step 500/2,000  loss 0.2500  0.20 s/it  12.3 img/s  ETA 5:00  1.5 GiB");
  EXPECT_EQ(progress_bar(state, 65), "step 500/2,000  loss 0.2500  0.20 s/it  ETA 5:00  1.5 GiB");
  EXPECT_EQ(progress_bar(state, 41).size(), 40u);
  state.reads_text = true;
  EXPECT_EQ(progress_bar(state, 200),
            "2|500|Loss: 0.2500:  25%|##--------| 500/2000 [1:40<5:00, 0.20 s/it, 4,032 tok/s, 1.5 GiB]");
}

}  // namespace
}  // namespace millrace
