#include "metrics/metric_logger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "formats/tensorboard.h"
#include "metrics/run_history.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class MetricLoggerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              (std::string("metrics_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    options_.dump_folder = folder_;
    options_.config.log_freq = 5;
    options_.config.log_to_console = false;
    options_.total_steps = 12;
    options_.flops_per_sample = 1e9;
  }
  void TearDown() override { fs::remove_all(folder_); }

  void run(int64_t first, int64_t last) {
    options_.first_step = first;
    MetricLogger logger(options_);
    for (int64_t step = first; step <= last; ++step) {
      logger.log_step({.step = step,
                       .loss = 1.0 / static_cast<double>(step),
                       .grad_norm = 0.5,
                       .lr = 1e-3,
                       .effective_lr = effective_lr_,
                       .samples = 4,
                       .total_samples = 4 * step,
                       .tokens = 64,
                       .data_seconds = 0.001});
      if (step != 10) continue;
      logger.log_validation({.step = step,
                             .loss = 0.25,
                             .samples = 7,
                             .trained_samples = 4 * step,
                             .tokens = 112,
                             .seconds = 0.5,
                             .breakdowns = {{"timestep", {0.5, std::nan(""), 0.125}}}});
    }
  }
  std::vector<nlohmann::json> lines() const {
    std::vector<nlohmann::json> all;
    std::ifstream file(folder_ / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) all.push_back(nlohmann::json::parse(line));
    return all;
  }
  std::vector<int64_t> steps() const {
    std::vector<int64_t> all;
    for (const auto& line : lines()) all.push_back(line.at("step"));
    return all;
  }

  fs::path folder_;
  MetricLoggerOptions options_;
  std::optional<double> effective_lr_;
};

TEST_F(MetricLoggerTest, WritesTheFirstEveryNthAndTheLastStep) {
  run(1, 12);
  EXPECT_THAT(steps(), ElementsAre(1, 5, 10, 10, 12));
  const nlohmann::json line = lines()[1];
  EXPECT_EQ(line["loss"], 0.2);
  EXPECT_EQ(line["samples"], 20);
  EXPECT_GT(line["samples_per_second"], 0);
  EXPECT_NEAR(line["tokens_per_second"].get<double>(), 16 * line["samples_per_second"].get<double>(),
              1e-6 * line["tokens_per_second"].get<double>());
  EXPECT_NEAR(line["data_seconds_per_step"].get<double>(), 0.001, 1e-9);
  EXPECT_GT(line["memory_gib"], 0);
  EXPECT_FALSE(line.contains("mfu")) << "the peak is unknown";
  const nlohmann::json validation = lines()[3];
  EXPECT_EQ(validation["validation_loss"], 0.25);
  EXPECT_EQ(validation["validation_samples"], 7);
  EXPECT_EQ(validation["samples"], 40);
  EXPECT_EQ(validation["validation_loss_per_timestep"], nlohmann::json::parse("[0.5, null, 0.125]"));
  const auto curves = read_curves(folder_ / "metrics.jsonl");
  EXPECT_EQ(curves.at("validation_loss_per_timestep.2").at(0).value, 0.125);
  EXPECT_FALSE(curves.contains("validation_loss_per_timestep.1"));
}

TEST_F(MetricLoggerTest, AnEffectiveLearningRateIsLoggedWhereItDiffers) {
  effective_lr_ = 5e-4;
  run(1, 1);
  EXPECT_EQ(lines()[0]["effective_lr"], 5e-4);
  effective_lr_.reset();
  run(1, 1);
  EXPECT_FALSE(lines()[0].contains("effective_lr"));
}

TEST_F(MetricLoggerTest, AResumedRunHoldsTheSameStepsAsAnUndisturbedOne) {
  run(1, 12);
  const std::vector<int64_t> undisturbed = steps();
  fs::remove(folder_ / "metrics.jsonl");
  run(1, 11);  // killed after step 11, resumed from a checkpoint of step 7
  {
    std::ofstream torn(folder_ / "metrics.jsonl", std::ios::app);
    torn << "{\"step\": 11, \"lo";
  }
  run(8, 12);
  EXPECT_EQ(steps(), undisturbed);
}

TEST_F(MetricLoggerTest, OneOfManyRanksWritesAndAllAreAskedForTheirMemory) {
  options_.ranks = 4;
  options_.config.enable_tensorboard = true;
  int asked = 0;
  options_.memory = [&asked] {
    ++asked;
    return MemoryUse{.peak_bytes = uint64_t{3} << 30, .bytes = 0, .total_bytes = uint64_t{4} << 30};
  };
  options_.writes_files = false;
  run(1, 12);
  EXPECT_EQ(asked, 5);
  EXPECT_TRUE(fs::is_empty(folder_));
  options_.writes_files = true;
  run(1, 12);
  EXPECT_EQ(asked, 10);
  const nlohmann::json line = lines()[1];
  EXPECT_EQ(line["ranks"], 4);
  EXPECT_EQ(line["memory_gib"], 3);
  EXPECT_NEAR(line["tflops"].get<double>() * 4e12, 1e9 * line["samples_per_second"].get<double>(), 1e6);
}

TEST_F(MetricLoggerTest, TensorBoardHasTorchtitansNames) {
  options_.config.enable_tensorboard = true;
  options_.peak_flops = 1e12;
  options_.more = [](const StepMetrics& step) {
    std::vector<TaggedNumber> numbers = {{kAverageLossTag, 2 * step.loss}};
    if (step.step == 10) numbers.push_back({kEpochLossTag, 3 * step.loss});
    return numbers;
  };
  run(1, 12);
  std::map<std::string, std::vector<int64_t>> found;
  double divergence = 0, epoch_divergence = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "tb")) {
    const EventFileEnd end = read_events(entry.path(), [&](const EventValue& value) {
      if (value.kind == EventValue::Kind::kScalar) found[value.tag].push_back(value.step);
      if (value.tag == "loss/validation/step_divergence") divergence = value.scalar;
      if (value.tag == "loss/validation/epoch_divergence") epoch_divergence = value.scalar;
    });
    EXPECT_FALSE(end.is_cut_short);
  }
  for (const char* name : {"loss_metrics/global_avg_loss", "grad_norm", "lr", "n_tokens_seen", "throughput(tps)",
                           "tflops", "mfu(%)", "time_metrics/end_to_end(s)", "time_metrics/data_loading(s)",
                           "time_metrics/data_loading(%)", "memory/max_reserved(GiB)", "memory/max_reserved(%)"}) {
    EXPECT_THAT(found[name], ElementsAre(1, 5, 10, 12)) << name;
  }
  for (const char* name : {"val_loss_metrics/avg_loss", "val_loss_metrics/timestep_0", "val_loss_metrics/timestep_2",
                           "loss/validation/step_average", "loss/validation/step_divergence",
                           "loss/validation/epoch_average", "loss/validation/epoch_divergence", "val_throughput(tps)",
                           "val_time_metrics/end_to_end(s)", "val_memory/max_reserved(GiB)"}) {
    EXPECT_THAT(found[name], ElementsAre(10)) << name;
  }
  EXPECT_TRUE(found["val_loss_metrics/timestep_1"].empty()) << "it had no sample";
  EXPECT_NEAR(divergence, 0.25 - 2.0 / 10, 1e-6) << "less what the task says of the same step";
  EXPECT_NEAR(epoch_divergence, 0.25 - 3.0 / 10, 1e-6);
}

}  // namespace
}  // namespace millrace
