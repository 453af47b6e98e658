#include "metrics/profiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/files.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class StepProfilerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              (std::string("profile_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    config_.enable_profiling = true;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Names of the folders with traces after steps 1 to last.
  std::set<std::string> run(int64_t last) {
    const torch::Tensor a = torch::ones({256, 256});
    StepProfiler profiler(config_, folder_);
    for (int64_t step = 1; step <= last; ++step) {
      torch::matmul(a, a);
      profiler.step(step);
    }
    std::set<std::string> names;
    if (!fs::exists(folder_ / "profile_traces")) return names;
    for (const auto& entry : fs::directory_iterator(folder_ / "profile_traces")) {
      names.insert(entry.path().filename().string());
    }
    return names;
  }
  // How often the operator was recorded.
  int count(const std::string& folder, const std::string& op) const {
    const auto trace = nlohmann::json::parse(read_file(folder_ / "profile_traces" / folder / "rank0_trace.json"));
    int found = 0;
    for (const auto& event : trace.at("traceEvents")) found += event.value("name", "") == op;
    return found;
  }

  fs::path folder_;
  ProfilingConfig config_;
};

TEST_F(StepProfilerTest, ProfileFreqIsTheCycleAsInTorchtitan) {
  config_.profile_freq = 6;
  EXPECT_THAT(run(13), ElementsAre("iteration_12", "iteration_6"));
  EXPECT_EQ(count("iteration_6", "aten::matmul"), 1);
}

TEST_F(StepProfilerTest, WaitWarmupActiveAndCyclesAsInTorchtune) {
  config_.wait_steps = 1;
  config_.warmup_steps = 1;
  config_.active_steps = 3;
  config_.num_cycles = 2;
  EXPECT_THAT(run(20), ElementsAre("iteration_10", "iteration_5"));
  EXPECT_EQ(count("iteration_10", "aten::matmul"), 3);
}

TEST_F(StepProfilerTest, BesideATraceLieTheLongestOperatorsAndWhatWasAskedFor) {
  config_.profile_freq = 5;
  run(5);
  const fs::path folder = folder_ / "profile_traces" / "iteration_5";
  EXPECT_THAT(read_file(folder / "rank0_key_averages.txt"), testing::HasSubstr("aten::matmul"));
  EXPECT_FALSE(fs::exists(folder / "rank0_stacks.txt"));
  EXPECT_EQ(count("iteration_5", "[memory]"), 0);
  config_.with_stack = config_.with_flops = config_.profile_memory = true;
  run(5);
  EXPECT_THAT(read_file(folder / "rank0_stacks.txt"), testing::HasSubstr("aten::matmul;aten::mm "));
  EXPECT_THAT(read_file(folder / "rank0_key_averages.txt"), testing::HasSubstr("Total MFLOPs"));
  EXPECT_GT(count("iteration_5", "[memory]"), 0);
}

TEST_F(StepProfilerTest, NothingIsWrittenUnlessAskedForOrWhenTheCycleIsCutShort) {
  config_.profile_freq = 6;
  EXPECT_TRUE(run(5).empty());
  config_.enable_profiling = false;
  EXPECT_TRUE(run(8).empty());
}

}  // namespace
}  // namespace millrace
