#include "train/changed_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

namespace millrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Change = std::function<void(RunConfig&)>;

// What is said when `change` is made; 8 samples a step in fp32 before.
std::vector<std::string> said(const Change& change, int64_t samples_per_step = 8,
                              torch::Dtype dtype = torch::kFloat32) {
  RunConfig config;
  const Settings before = result_settings(config, 8, torch::kFloat32);
  change(config);
  return changed_settings(before, result_settings(config, samples_per_step, dtype));
}

TEST(ChangedSettings, NamesEachThatDecidesTheResult) {
  const struct {
    Change change;
    const char* line;
  } cases[] = {
      {[](RunConfig& c) { c.optimizer.lr = 2e-4; }, "optimizer.lr: 1e-04 -> 2e-04"},
      {[](RunConfig& c) { c.optimizer.name = "Adam"; }, "optimizer.name: \"AdamW\" -> \"Adam\""},
      {[](RunConfig& c) { c.lr_scheduler.warmup_steps = StepsOrPart{.steps = 7}; },
       "lr_scheduler.warmup_steps: 200 -> 7"},
      {[](RunConfig& c) { c.training.steps = 20000; },
       "lr_scheduler.total_steps: 10000 -> 20000 (None there: training.steps)"},
      {[](RunConfig& c) { c.training.seed = 3; }, "training.seed: 0 -> 3"},
      {[](RunConfig& c) { c.training.max_norm = 0.5; }, "training.max_norm: 1.0 -> 0.5"},
      {[](RunConfig& c) { c.validation.target_loss = 0.5; }, "validation.target_loss: 0.0 -> 0.5"},
      {[](RunConfig& c) { c.checkpoint.initial_load_path = "w"; },
       "checkpoint.initial_load_path: \"\" -> \"w\" (without effect: the weights are the checkpoint's)"},
  };
  for (const auto& [change, line] : cases) EXPECT_THAT(said(change), ElementsAre(line));
}

TEST(ChangedSettings, LeavesOutWhatChangesNothing) {
  const Change cases[] = {
      [](RunConfig& c) { c.job.dump_folder = "elsewhere"; },
      [](RunConfig& c) { c.checkpoint.interval = 3; },
      [](RunConfig& c) { c.metrics.log_freq = 1; },
      [](RunConfig& c) { c.training.local_batch_size = 4; },  // of twice as many ranks
      [](RunConfig& c) { c.training.num_workers = 4; },
      [](RunConfig& c) { c.training.seed = 0; },                 // None is 0
      [](RunConfig& c) { c.lr_scheduler.total_steps = 10000; },  // None is training.steps
      [](RunConfig& c) { c.activation_checkpoint.mode = "full"; },
      [](RunConfig& c) { c.parallelism.tensor_parallel_degree = 2; },
  };
  for (const Change& change : cases) EXPECT_THAT(said(change), IsEmpty());
}

TEST(ChangedSettings, ResolvesWhatMachineAndRanksDecide) {
  const Change none = [](RunConfig&) {};
  EXPECT_THAT(said(none, 16), ElementsAre("training.global_batch_size: 8 -> 16 (samples in a step of all ranks)"));
  EXPECT_THAT(said(none, 8, torch::kBFloat16),
              ElementsAre("training.mixed_precision_param: \"float32\" -> \"bfloat16\""));
}

// Without decay the length of the schedule decides nothing: a longer run is the same run.
TEST(ChangedSettings, KnowsNoLengthOfAScheduleWithoutDecay) {
  RunConfig shorter, longer;
  shorter.lr_scheduler.decay_ratio = longer.lr_scheduler.decay_ratio = 0;
  longer.training.steps = 2 * shorter.training.steps;
  EXPECT_THAT(
      changed_settings(result_settings(shorter, 8, torch::kFloat32), result_settings(longer, 8, torch::kFloat32)),
      IsEmpty());
}

TEST(ChangedSettings, PassesOverWhatOnlyOneSideKnows) {
  EXPECT_THAT(changed_settings({{"a.b", "1"}, {"old.only", "1"}}, {{"a.b", "2"}, {"new.only", "1"}}),
              ElementsAre("a.b: 1 -> 2"));
}

TEST(ChangedSettings, OfAFileAreThoseThatItTells) {
  std::string pattern = (std::filesystem::temp_directory_path() / "millrace-settings-XXXXXX").string();
  const std::filesystem::path folder = ::mkdtemp(pattern.data());
  RunConfig config;
  config.optimizer.lr = 1e-4;
  std::ofstream(folder / "config.toml") << to_toml(config);
  config.optimizer.lr = 2e-4;
  EXPECT_THAT(changed_settings(settings_in_file(folder / "config.toml"), result_settings(config, 16, torch::kBFloat16)),
              ElementsAre("optimizer.lr: 1e-04 -> 2e-04"));
  std::ofstream(folder / "broken.toml") << "[optimizer\n";
  EXPECT_THAT(settings_in_file(folder / "broken.toml"), IsEmpty());
  EXPECT_THAT(settings_in_file(folder / "none.toml"), IsEmpty());
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace millrace
