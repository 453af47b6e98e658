// What the step loop has a task write for other programs, and what becomes of it when it cannot be written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>

#include "checkpoint/test_support.h"
#include "train/trainer_test_support.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::RunOutcome;
using testing::saved_steps;
using testing::TenNumbersOptions;
using testing::text_of;

class TrainerResults : public ::testing::Test {
 protected:
  RunConfig config(const std::string& run = "run") const { return testing::ten_numbers_config(folder_.path() / run); }
  RunOutcome run(const RunConfig& config, const TenNumbersOptions& options) {
    return testing::run_ten_numbers(config, *alone_, options);
  }
  static fs::path file(const RunConfig& config, const std::string& name) {
    return fs::path(config.job.dump_folder) / name;
  }

  testing::TemporaryFolder folder_;
  std::shared_ptr<Communicator> alone_ = connect({}, {});
};

TEST_F(TrainerResults, ResultsThatStayAreWrittenAtTheirOwnStepsBeforeTheCheckpoint) {
  RunConfig kept = config();  // checkpoints at 2, 4, 6 and 7
  EXPECT_THAT(run(kept, {.keep_every = 3}).task->kept, ElementsAre("3", "6", "7 last"));
  kept = config("to-the-target");
  kept.validation.enable = true;
  kept.validation.freq = 1;
  kept.validation.target_loss = 4;
  TenNumbersOptions options{.keep_every = 3};
  options.validation_loss = [](int64_t microbatch) { return 9.0 - static_cast<double>(microbatch); };
  EXPECT_THAT(run(kept, options).task->kept, ElementsAre("3", "5 last"));
  TenNumbersOptions killed{.keep_every = 3};
  killed.disturb = [](int64_t microbatch) -> double { return microbatch < 7 ? 0 : throw std::runtime_error("killed"); };
  EXPECT_THAT(run(config("no-last-one"), killed).task->kept, ElementsAre("3", "6"));
}

TEST_F(TrainerResults, ThatCannotBeWrittenEndTheRunAfterACheckpointAndAreWrittenByTheNext) {
  const RunConfig undisturbed = config("undisturbed");
  ASSERT_EQ(run(undisturbed, {.keep_every = 1}).error, "");
  for (const int64_t step : {3, 4, 7}) {  // without a checkpoint of its own, with one, and the last
    const RunConfig failing = config(str("fails-at-", step));
    const RunOutcome outcome = run(failing, {.keep_every = 1, .keep_fails_at = step});
    EXPECT_EQ(outcome.code, ExitCode::kStorage);
    EXPECT_EQ(outcome.error, "[result] expected room");
    EXPECT_EQ(saved_steps(failing).back(), step);
    EXPECT_EQ(run(failing, {.keep_every = 1}).task->microbatches, 7 - step);
    for (const std::string& name : {str("kept-", step, ".txt"), std::string("kept-7.txt"), std::string("newest.txt")}) {
      EXPECT_EQ(text_of(file(failing, name)), text_of(file(undisturbed, name))) << name << " after " << step;
    }
    EXPECT_THAT(text_of(file(failing, "log.txt")),
                HasSubstr(str("files for other programs of step ", step, " are missing")));
  }
}

TEST_F(TrainerResults, OfARunThatHasEndedAreWrittenAgainWhereTheyAreMissing) {
  const RunConfig ended = config();
  const TenNumbersOptions options{.keep_every = 7};
  ASSERT_EQ(run(ended, options).error, "");
  EXPECT_THAT(run(ended, options).task->kept, ElementsAre()) << "they are complete";
  const std::string expected = text_of(file(ended, "newest.txt"));
  for (const char* name : {"newest.txt", "kept-7.txt", "results.json"}) {
    fs::remove(file(ended, name));
    const RunOutcome again = run(ended, options);
    EXPECT_EQ(again.error, "");
    EXPECT_EQ(again.task->microbatches, 0);
    EXPECT_THAT(again.events, ElementsAre());
    EXPECT_EQ(text_of(file(ended, "newest.txt")), expected);
    EXPECT_EQ(text_of(file(ended, "kept-7.txt")), expected);
    EXPECT_THAT(run(ended, options).task->kept, ElementsAre()) << "once";
  }
}

// What another course of the run has left counts for nothing, though it is of a later step.
TEST_F(TrainerResults, OfARunThatGoesBackAreItsOwn) {
  RunConfig back = config();
  ASSERT_EQ(run(back, {.keep_every = 1}).error, "");
  back.checkpoint.load_step = 4;
  back.training.steps = 5;
  ASSERT_EQ(run(back, {.keep_every = 1, .keep_fails_at = 5}).error, "[result] expected room");
  back.checkpoint.load_step = 5;
  EXPECT_THAT(run(back, {.keep_every = 1}).task->kept, ElementsAre("5 last"));
  EXPECT_THAT(text_of(file(back, "newest.txt")), HasSubstr("step 5"));
}

TEST_F(TrainerResults, OfTheBestStepAreWrittenByTheNextProcess) {
  RunConfig best = config();
  best.validation.enable = true;
  best.validation.freq = 1;
  best.checkpoint.keep_best = true;
  TenNumbersOptions options{.keep_every = 7};
  options.validation_loss = [](int64_t microbatch) { return 9.0 - static_cast<double>(microbatch); };
  // Something has the name of the last step's file.
  options.disturb = [&](int64_t microbatch) {
    if (microbatch == 7) {
      fs::remove(file(best, "best") / "newest.txt");
      fs::create_directories(file(best, "best") / "newest.txt");
    }
    return 0.0;
  };
  EXPECT_EQ(run(best, options).code, ExitCode::kStorage);
  EXPECT_EQ(saved_steps(best).back(), 7);
  fs::remove(file(best, "best") / "newest.txt");
  EXPECT_EQ(run(best, options).error, "");
  EXPECT_EQ(text_of(file(best, "best") / "newest.txt"), text_of(file(best, "newest.txt")));
}

TEST_F(TrainerResults, ThatStillCannotBeWrittenLeaveTheCheckpointAsItIs) {
  const RunConfig failing = config();
  const TenNumbersOptions options{.keep_every = 7, .keep_fails_at = 7};
  ASSERT_EQ(run(failing, options).code, ExitCode::kStorage);
  const std::string index = text_of(testing::step_folder(failing, 7) / "index.json");
  EXPECT_EQ(run(failing, options).error, "[result] expected room");
  EXPECT_EQ(text_of(testing::step_folder(failing, 7) / "index.json"), index);
}

}  // namespace
}  // namespace millrace
