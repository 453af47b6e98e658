#include "train/mlperf_listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "checkpoint/test_support.h"
#include "train/trainer_test_support.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;
using testing::RunOutcome;
using testing::TenNumbersOptions;

struct LoggedConfig : RunConfig {
  MlperfConfig mlperf;
  std::optional<bool> mlperf_logging;
};

class MlperfListenerTest : public ::testing::Test {
 protected:
  // Validates on four samples after every second step, with a target out of reach.
  LoggedConfig config(const std::string& run, int64_t stated_samples) const {
    LoggedConfig config;
    static_cast<RunConfig&>(config) = testing::ten_numbers_config(folder_.path() / run);
    config.validation.enable = true;
    config.validation.freq_samples = 4;
    config.validation.target_loss = 1e-9;
    config.mlperf.eval_samples = stated_samples;
    return config;
  }
  RunOutcome run(const LoggedConfig& config, int stop_in = 0) {
    TenNumbersOptions options;
    options.disturb = [=](int64_t microbatch) {
      if (microbatch == stop_in) std::raise(SIGTERM);
      return 0.0;
    };
    std::vector<std::unique_ptr<RunListener>> listeners;
    if (logs_for_mlperf(config, config.mlperf_logging)) {
      listeners.push_back(make_mlperf_listener(config, config.mlperf));
    }
    return testing::run_ten_numbers(config, *alone_, options, std::move(listeners));
  }
  // The status of each run_stop.
  static std::vector<std::string> statuses(const RunConfig& config) {
    std::vector<std::string> found;
    std::ifstream file(std::filesystem::path(config.job.dump_folder) / "mlperf_compliance.log");
    for (std::string line; std::getline(file, line);) {
      const nlohmann::json event = nlohmann::json::parse(line.substr(line.find('{')));
      if (event.at("key") == "run_stop") found.push_back(event.at("metadata").at("status"));
    }
    return found;
  }

  testing::TemporaryFolder folder_;
  std::shared_ptr<Communicator> alone_ = connect({}, {});
};

TEST_F(MlperfListenerTest, SuccessNeedsTheStatedSamplesBeforeAndAfterAnInterruption) {
  for (const int64_t first_stated : {4, 5}) {
    LoggedConfig resumed = config(str("stated-", first_stated), first_stated);
    EXPECT_EQ(run(resumed, /*stop_in=*/3).code, ExitCode::kPreempted);
    resumed.mlperf.eval_samples = 4;
    resumed.validation.target_loss = 1e9;  // the next validation reaches it
    EXPECT_EQ(run(resumed).events.back(), "target");
    const char* expected = first_stated == 4 ? "success" : "aborted";
    EXPECT_THAT(statuses(resumed), ::testing::ElementsAre("aborted", expected));
  }
}

TEST_F(MlperfListenerTest, TheStateOutlivesAPartOfTheRunWithoutALog) {
  LoggedConfig resumed = config("run", 5);
  EXPECT_EQ(run(resumed, 3).code, ExitCode::kPreempted);
  resumed.mlperf_logging = false;
  EXPECT_EQ(run(resumed, 2).code, ExitCode::kPreempted);
  resumed.mlperf_logging = true;
  resumed.mlperf.eval_samples = 4;
  resumed.validation.target_loss = 1e9;
  EXPECT_EQ(run(resumed).events.back(), "target");
  EXPECT_THAT(statuses(resumed), ::testing::ElementsAre("aborted", "aborted"));
}

TEST_F(MlperfListenerTest, ARunThatMissesItsTargetOrFailsIsAborted) {
  EXPECT_EQ(run(config("missed", 4)).events.back(), "all steps");
  EXPECT_THAT(statuses(config("missed", 4)), ::testing::ElementsAre("aborted"));
  LoggedConfig failed = config("failed", 4);
  failed.checkpoint.load_step = 9;
  EXPECT_EQ(run(failed).code, ExitCode::kStorage);
  EXPECT_THAT(statuses(failed), ::testing::IsEmpty()) << "it had not started";
}

}  // namespace
}  // namespace millrace
