// The step loop on one rank, with a task of ten numbers.
#include "train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <stdexcept>

#include "checkpoint/best_checkpoint.h"
#include "checkpoint/loaded_checkpoint.h"
#include "checkpoint/test_support.h"
#include "train/trainer_test_support.h"

namespace millrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::logged;
using testing::RunOutcome;
using testing::saved_state;
using testing::saved_steps;
using testing::saved_tensors;
using testing::TenNumbers;
using testing::TenNumbersOptions;

class TrainerTest : public ::testing::Test {
 protected:
  RunConfig config(const std::string& run = "run") const { return testing::ten_numbers_config(folder_.path() / run); }
  RunOutcome run(const RunConfig& config, const TenNumbersOptions& options = {}) {
    return testing::run_ten_numbers(config, *alone_, options);
  }
  static std::string log_of(const RunConfig& config) {
    return testing::text_of(std::filesystem::path(config.job.dump_folder) / "log.txt");
  }

  testing::TemporaryFolder folder_;
  std::shared_ptr<Communicator> alone_ = connect({}, {});
};

// A process that ends in the given microbatch without a chance to save.
TenNumbersOptions killed_in(int64_t microbatch, TenNumbersOptions options = {}) {
  options.disturb = [=](int64_t number) {
    if (number == microbatch) throw std::runtime_error("killed");
    return 0.0;
  };
  return options;
}

// Unequal, and among them some steps of ten_numbers_config() in which no sample counts.
double uneven_weight(int64_t sample) {
  const int64_t step = sample / 2;
  return step == 2 || step == 3 ? 0 : 0.25 + static_cast<double>(sample % 5);
}

torch::Tensor saved(const RunConfig& config, int64_t step, const std::string& name) {
  return LoadedCheckpoint(testing::step_folder(config, step)).read(name).to(torch::kFloat64);
}

// Steps and checkpoints

TEST_F(TrainerTest, RunsToItsLastStepAndThenHasNothingLeftToDo) {
  const RunOutcome first = run(config());
  EXPECT_EQ(first.error, "");
  EXPECT_EQ(first.task->microbatches, 7);
  EXPECT_EQ(saved_steps(config()).back(), 7);
  const RunOutcome second = run(config());
  EXPECT_EQ(second.error, "");
  EXPECT_EQ(second.task->microbatches, 0);
  EXPECT_THAT(second.events, IsEmpty());
  EXPECT_TRUE(saved(config(), 7, "model.numbers").equal(first.task->values())) << "what was saved stays";
}

TEST_F(TrainerTest, SavesAtItsIntervalAndAtTheEndAndKeepsTheLatest) {
  RunConfig all = config("all"), two = config("two"), none = config("none");
  all.checkpoint.keep_latest_k = 0;
  two.checkpoint.keep_latest_k = 2;
  none.checkpoint.enable = false;
  for (const RunConfig& each : {all, two, none}) EXPECT_EQ(run(each).error, "");
  EXPECT_THAT(saved_steps(all), ElementsAre(2, 4, 6, 7));
  EXPECT_THAT(saved_steps(two), ElementsAre(6, 7));
  EXPECT_THAT(saved_steps(none), IsEmpty());
}

TEST_F(TrainerTest, KilledInAnyStepItEndsBitForBitAsIfNothingHadHappened) {
  TenNumbersOptions uneven;
  uneven.weight = uneven_weight;
  RunConfig undisturbed = config("undisturbed");
  ASSERT_EQ(run(undisturbed, uneven).error, "");
  for (int64_t step = 1; step <= 7; ++step) {
    const RunConfig disturbed = config(str("killed-", step));
    EXPECT_EQ(run(disturbed, killed_in(step, uneven)).error, "killed");
    const RunOutcome rest = run(disturbed, uneven);
    EXPECT_EQ(rest.error, "");
    EXPECT_LT(rest.task->microbatches, 7 - step + 3) << "it begins at a checkpoint";
    EXPECT_EQ(saved_tensors(disturbed, 7), saved_tensors(undisturbed, 7)) << step;
    EXPECT_EQ(saved_state(disturbed, 7), saved_state(undisturbed, 7)) << step;
    EXPECT_EQ(saved_state(disturbed, 7).at("task").at("seen"), 7) << step;
    EXPECT_EQ(logged(disturbed, "loss"), logged(undisturbed, "loss")) << step;
  }
}

TEST_F(TrainerTest, ResumesFromTheStepThatIsAskedFor) {
  RunConfig run_config = config();
  ASSERT_EQ(run(run_config).error, "");
  run_config.checkpoint.load_step = 4;
  EXPECT_EQ(run(run_config).task->microbatches, 3);
  run_config.checkpoint.load_step = 5;
  EXPECT_EQ(run(run_config).code, ExitCode::kStorage);
  RunConfig empty = config("empty");
  empty.checkpoint.load_step = 4;
  const RunOutcome outcome = run(empty);
  EXPECT_EQ(outcome.code, ExitCode::kStorage);
  EXPECT_THAT(outcome.events, ElementsAre("new", "failed"));
}

// Stopping

TEST_F(TrainerTest, ASignalStopsItAfterTheStepWithACheckpoint) {
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    const RunConfig stopped = config(str("stopped-", signal));
    TenNumbersOptions options;
    options.disturb = [&](int64_t microbatch) {
      if (microbatch == 3) std::raise(signal);
      return 0.0;
    };
    const RunOutcome outcome = run(stopped, options);
    EXPECT_EQ(outcome.code, ExitCode::kPreempted);
    EXPECT_THAT(outcome.error, HasSubstr(str("[signal ", signal, "] stopped after step 3 with a checkpoint")));
    EXPECT_EQ(outcome.task->microbatches, 3);
    EXPECT_THAT(saved_steps(stopped), ElementsAre(2, 3));
    EXPECT_EQ(outcome.events.back(), "stopped");
  }
}

TEST_F(TrainerTest, WithoutCheckpointsASignalStopsItAllTheSame) {
  RunConfig stopped = config();
  stopped.checkpoint.enable = false;
  TenNumbersOptions options;
  options.disturb = [](int64_t microbatch) {
    if (microbatch == 2) std::raise(SIGTERM);
    return 0.0;
  };
  const RunOutcome outcome = run(stopped, options);
  EXPECT_EQ(outcome.code, ExitCode::kPreempted);
  EXPECT_THAT(outcome.error, HasSubstr("without a checkpoint"));
}

TEST_F(TrainerTest, NumbersThatAreNotFiniteEndItAndSaveNothing) {
  for (const double bad : {NAN, INFINITY}) {
    const RunConfig broken = config(str("broken-", bad));
    TenNumbersOptions options;
    options.disturb = [=](int64_t microbatch) { return microbatch == 4 ? bad : 0.0; };
    const RunOutcome outcome = run(broken, options);
    EXPECT_EQ(outcome.code, ExitCode::kNumerics);
    EXPECT_THAT(outcome.error, ::testing::AllOf(HasSubstr("[step 4]"), HasSubstr("gradient of numbers[0]")));
    EXPECT_THAT(saved_steps(broken), ElementsAre(2));
    EXPECT_EQ(outcome.events.back(), "failed");
  }
  TenNumbersOptions options;
  options.weight = [](int64_t sample) { return sample == 8 ? 1e200 : 1.0; };
  const RunOutcome outcome = run(config("loss"), options);
  EXPECT_EQ(outcome.code, ExitCode::kNumerics);
  EXPECT_THAT(outcome.error, HasSubstr("[step 5]"));
}

// Updates during the backward pass

RunConfig in_backward(RunConfig config, bool wanted = true) {
  config.optimizer.in_backward = wanted;
  config.training.max_norm = kUnlimitedNorm;
  return config;
}

TEST_F(TrainerTest, UpdatesInTheBackwardPassAreThoseAfterIt) {
  for (const char* rule : {"AdamW", "Adam", "AdamW8bit", "Lion", "SGD"}) {
    RunConfig during = in_backward(config(str("during-", rule)));
    RunConfig after = in_backward(config(str("after-", rule)), false);
    for (RunConfig* each : {&during, &after}) each->optimizer.name = rule;
    EXPECT_EQ(run(during).error + run(after).error, "") << rule;
    EXPECT_EQ(saved_tensors(during, 7), saved_tensors(after, 7)) << rule;
    EXPECT_EQ(logged(during, "loss"), logged(after, "loss")) << rule;
    EXPECT_EQ(logged(during, "grad_norm"), logged(after, "grad_norm")) << rule;
  }
}

// Gradients are divided by the step's own weight, not by the expected one first: another rounding.
TEST_F(TrainerTest, UpdatesInTheBackwardPassTakeAStepsOwnWeight) {
  TenNumbersOptions uneven;
  uneven.weight = uneven_weight;
  const RunConfig during = in_backward(config("during")), after = in_backward(config("after"), false);
  EXPECT_EQ(run(during, uneven).error + run(after, uneven).error, "");
  const torch::Tensor numbers = saved(during, 7, "model.numbers");
  EXPECT_TRUE(torch::allclose(numbers, saved(after, 7, "model.numbers"), 1e-6, 1e-7));
  for (int64_t step = 1; step <= 7; ++step) {
    const RunConfig disturbed = in_backward(config(str("killed-", step)));
    EXPECT_EQ(run(disturbed, killed_in(step, uneven)).error, "killed");
    EXPECT_EQ(run(disturbed, uneven).error, "");
    EXPECT_EQ(saved_tensors(disturbed, 7), saved_tensors(during, 7)) << step;
  }
}

TEST_F(TrainerTest, AGradientThatIsNotFiniteEndsARunWithUpdatesInTheBackwardPass) {
  const RunConfig broken = in_backward(config());
  TenNumbersOptions options;
  options.disturb = [](int64_t microbatch) { return microbatch == 4 ? INFINITY : 0.0; };
  const RunOutcome outcome = run(broken, options);
  EXPECT_EQ(outcome.code, ExitCode::kNumerics);
  EXPECT_THAT(outcome.error, ::testing::AllOf(HasSubstr("[step 4]"), HasSubstr("gradient of numbers[0]")));
  EXPECT_THAT(saved_steps(broken), ElementsAre(2));
}

// Weights

TEST_F(TrainerTest, ManyMicrobatchesOfUnequalWeightAreOneBatch) {
  TenNumbersOptions options;
  options.weight = [](int64_t sample) { return sample % 3 == 0 ? 0 : static_cast<double>(sample % 7); };
  RunConfig whole = config("whole"), parts = config("parts");
  whole.training.local_batch_size = 12;
  parts.training.local_batch_size = 1;  // some microbatches weigh nothing
  parts.training.global_batch_size = 12;
  const RunOutcome one = run(whole, options), many = run(parts, options);
  EXPECT_EQ(one.error + many.error, "");
  EXPECT_EQ(many.task->microbatches, 7 * 12);
  EXPECT_TRUE(many.task->values().allclose(one.task->values(), 1e-5, 1e-6));

  // The first step, computed by hand.
  double loss = 0, weight = 0;
  torch::Tensor gradient = torch::zeros({testing::kNumbers}, torch::kFloat64);
  const torch::Tensor start = torch::linspace(-1, 1, testing::kNumbers).to(torch::kFloat64);
  for (int64_t sample = 0; sample < 12; ++sample) {
    const torch::Tensor difference = start - TenNumbers::point(sample);
    loss += options.weight(sample) * difference.square().sum().item<double>() / 2;
    gradient += options.weight(sample) * difference;
    weight += options.weight(sample);
  }
  for (const RunConfig& each : {whole, parts}) {
    EXPECT_NEAR(logged(each, "loss").front().second.get<double>(), loss / weight, 1e-6);
    const double norm = (gradient / weight).norm().item<double>();
    EXPECT_NEAR(logged(each, "grad_norm").front().second.get<double>(), norm, 1e-5);
  }
}

TEST_F(TrainerTest, TheExpectedWeightChangesNothingButTheScaleOfTheSums) {
  TenNumbersOptions as_expected;
  as_expected.weight = [](int64_t sample) { return sample % 2 == 0 ? 96.0 : 32.0; };
  as_expected.expected_sample_weight = 64;
  TenNumbersOptions unexpected = as_expected;
  unexpected.expected_sample_weight = 1;  // off by a power of two: no rounding differs
  for (const char* dtype : {"float32", "bfloat16"}) {
    RunConfig first = config(str(dtype, "-1")), second = config(str(dtype, "-2"));
    for (RunConfig* each : {&first, &second}) {
      each->training.mixed_precision_param = dtype;
      each->training.global_batch_size = 6;
    }
    EXPECT_EQ(run(first, as_expected).error + run(second, unexpected).error, "");
    EXPECT_EQ(saved_tensors(first, 7), saved_tensors(second, 7)) << dtype;
    EXPECT_EQ(logged(first, "loss"), logged(second, "loss")) << dtype;
    EXPECT_EQ(logged(first, "grad_norm"), logged(second, "grad_norm")) << dtype;
  }
}

TEST_F(TrainerTest, AStepWithoutWeightIsNamedCountedAndUpdatesNothing) {
  RunConfig empty = config();
  empty.checkpoint.interval = 1;
  TenNumbersOptions options;
  options.weight = uneven_weight;
  options.disturb = [](int64_t microbatch) { return microbatch == 3 ? 0.5 : 0.0; };  // a gradient without weight
  const RunOutcome outcome = run(empty, options);
  EXPECT_EQ(outcome.error, "");
  EXPECT_EQ(saved_tensors(empty, 2), saved_tensors(empty, 3));
  EXPECT_EQ(saved_tensors(empty, 2), saved_tensors(empty, 4));
  EXPECT_NE(saved_tensors(empty, 4), saved_tensors(empty, 5));
  EXPECT_EQ(saved_state(empty, 7).at("step"), 7);
  EXPECT_EQ(saved_state(empty, 7).at("empty_steps"), 2);
  const auto losses = logged(empty, "loss");
  ASSERT_EQ(losses.size(), 7u);
  for (const auto& [step, loss] : losses) EXPECT_EQ(loss.is_null(), step == 3 || step == 4);
  EXPECT_THAT(log_of(empty), HasSubstr("[step 3] expected something to learn from, got weight 0"));
  EXPECT_THAT(log_of(empty), HasSubstr("2 of 7 steps had nothing to learn from"));
}

TEST_F(TrainerTest, TheStepSizeOfARuleThatAdaptsItIsLogged) {
  RunConfig prodigy = config("prodigy"), fixed = config("fixed");
  prodigy.optimizer = {};
  prodigy.optimizer.name = "Prodigy";
  EXPECT_EQ(run(prodigy).error + run(fixed).error, "");
  const auto sizes = logged(prodigy, "effective_lr");
  ASSERT_EQ(sizes.size(), 7u);
  EXPECT_GT(sizes.front().second.get<double>(), 0);
  EXPECT_GT(sizes.back().second.get<double>(), sizes.front().second.get<double>());
  EXPECT_THAT(logged(fixed, "effective_lr"), IsEmpty());
}

TEST_F(TrainerTest, AScheduleThatMovesTheMomentumNeedsARuleThatHasOne) {
  RunConfig moving = config("moving"), fixed = config("fixed"), still = config("still");
  for (RunConfig* each : {&moving, &fixed, &still}) each->lr_scheduler = {.name = "OneCycleLR"};
  for (RunConfig* each : {&fixed, &still}) each->optimizer = {.name = "CAME"};
  still.lr_scheduler.cycle_momentum = false;
  EXPECT_EQ(run(moving).error + run(still).error, "");
  EXPECT_THAT(run(fixed).error, HasSubstr("[lr_scheduler.cycle_momentum] expected false with this optimizer"));
}

// Validations and previews

TEST_F(TrainerTest, ValidatesAtItsIntervalAndAtTheEnd) {
  RunConfig by_steps = config("steps"), by_samples = config("samples");
  for (RunConfig* each : {&by_steps, &by_samples}) each->validation.enable = true;
  by_steps.validation.freq = 3;
  by_samples.validation.freq_samples = 7;  // of two a step: every fourth step
  const auto steps_of = [](const RunConfig& config) {
    std::vector<int64_t> steps;
    for (const auto& [step, loss] : logged(config, "validation_loss")) steps.push_back(step);
    return steps;
  };
  EXPECT_EQ(run(by_steps).error + run(by_samples).error, "");
  EXPECT_THAT(steps_of(by_steps), ElementsAre(3, 6, 7));
  EXPECT_THAT(steps_of(by_samples), ElementsAre(4, 7));
  EXPECT_EQ(logged(by_steps, "validation_loss_per_half").size(), 3u);
}

TEST_F(TrainerTest, ATargetThatIsReachedEndsTheRun) {
  RunConfig aimed = config();
  aimed.training.steps = 1000;
  aimed.validation.enable = true;
  aimed.validation.freq = 3;
  ASSERT_EQ(run(aimed, killed_in(10)).error, "killed");
  const auto before = logged(aimed, "validation_loss");
  ASSERT_LT(before.at(2).second.get<double>(), before.at(0).second.get<double>());
  aimed.job.dump_folder += "-aimed";
  aimed.validation.target_loss = before.at(1).second.get<double>();
  const RunOutcome reached = run(aimed);
  EXPECT_EQ(reached.error, "");
  EXPECT_EQ(reached.events.back(), "target");
  EXPECT_EQ(reached.task->microbatches, 6);
  EXPECT_EQ(saved_steps(aimed).back(), 6);
  const RunOutcome again = run(aimed);
  EXPECT_EQ(again.task->microbatches, 0);
  EXPECT_THAT(again.events, IsEmpty());
  aimed.validation.target_loss = before.at(2).second.get<double>();
  EXPECT_EQ(run(aimed).task->microbatches, 3) << "a lower target lets it resume";
}

// Validations after each step, with these losses from step 1 on; the last one repeats for ever.
TenNumbersOptions with_losses(std::vector<double> losses, TenNumbersOptions options = {}) {
  options.validation_loss = [=](int64_t step) {
    return losses.at(std::min(static_cast<size_t>(step), losses.size()) - 1);
  };
  return options;
}

RunConfig validating(RunConfig config) {
  config.validation.enable = true;
  config.validation.freq = 1;
  config.checkpoint.keep_latest_k = 1;
  config.checkpoint.keep_best = true;
  return config;
}

int64_t best_step(const RunConfig& config) {
  const LoadedCheckpoint best = load_checkpoint(
      std::filesystem::path(config.job.dump_folder) / config.checkpoint.folder, kBestStep, AskForStep::kByStep);
  return best.step();
}

TEST_F(TrainerTest, TheBestValidationsCheckpointStays) {
  const RunConfig kept = validating(config());
  EXPECT_EQ(run(kept, with_losses({5, 4, 3, 6, 3, NAN, 7})).error, "");
  EXPECT_THAT(saved_steps(kept), ElementsAre(7));
  EXPECT_EQ(best_step(kept), 3) << "an equal loss is not better";
  EXPECT_EQ(saved_state(kept, 7).at("best_validation"),
            (nlohmann::json{{"step", 3}, {"loss", 3.0}, {"worse_since", 4}}));
  const RunConfig last = validating(config("last"));
  EXPECT_EQ(run(last, with_losses({5, 4, 3, 2})).error, "");
  EXPECT_EQ(best_step(last), 4);
  EXPECT_EQ(run(validating(config("at-the-end")), with_losses({7, 6, 5, 4, 3, 2, 1})).error, "");
  EXPECT_EQ(best_step(config("at-the-end")), 7);
}

TEST_F(TrainerTest, PatienceEndsTheRunAndMoreOfItResumesIt) {
  RunConfig patient = validating(config());
  patient.validation.patience = 3;
  const TenNumbersOptions options = with_losses({5, 4, 4.5, 4.25, 4.1, 3, 2});
  const RunOutcome stopped = run(patient, options);
  EXPECT_EQ(stopped.error, "");
  EXPECT_EQ(stopped.task->microbatches, 5);
  EXPECT_EQ(stopped.events.back(), "patience");
  EXPECT_THAT(log_of(patient), HasSubstr("3 validations were no better than that of step 2"));
  EXPECT_EQ(run(patient, options).task->microbatches, 0);
  patient.validation.patience = 4;
  EXPECT_EQ(run(patient, options).task->microbatches, 2) << "of 7 steps, 5 were done";
  EXPECT_EQ(best_step(patient), 7);
}

TEST_F(TrainerTest, KilledInAnyStepItKeepsTheSameBestAndStopsAtTheSameStep) {
  const TenNumbersOptions options = with_losses({5, 4, 6, 3, 3.5, 3.25, 9});
  RunConfig undisturbed = validating(config("undisturbed"));
  undisturbed.validation.patience = 2;
  ASSERT_EQ(run(undisturbed, options).error, "");
  ASSERT_EQ(saved_steps(undisturbed).back(), 6);
  for (int64_t step = 1; step <= 6; ++step) {
    RunConfig disturbed = undisturbed;
    disturbed.job.dump_folder = config(str("killed-", step)).job.dump_folder;
    EXPECT_EQ(run(disturbed, killed_in(step, options)).error, "killed");
    EXPECT_EQ(run(disturbed, options).error, "");
    EXPECT_EQ(best_step(disturbed), 4);
    EXPECT_EQ(saved_tensors(disturbed, 6), saved_tensors(undisturbed, 6)) << step;
    EXPECT_EQ(saved_state(disturbed, 6), saved_state(undisturbed, 6)) << step;
  }
}

// A process that ended between saving and keeping.
TEST_F(TrainerTest, ABestCheckpointThatIsMissingComesBackWithTheResumedRun) {
  RunConfig kept = validating(config());
  kept.training.steps = 4;
  const TenNumbersOptions options = with_losses({5, 4, 3, 2, 9});
  ASSERT_EQ(run(kept, options).error, "");
  std::filesystem::remove_all(std::filesystem::path(kept.job.dump_folder) / kept.checkpoint.folder / "best");
  kept.training.steps = 7;
  EXPECT_EQ(run(kept, options).error, "");
  EXPECT_EQ(best_step(kept), 4);
}

TEST_F(TrainerTest, ValidationsAndPreviewsSeeTheAveragedWeights) {
  RunConfig averaged = config();
  averaged.validation.enable = true;
  averaged.validation.freq = 4;
  TenNumbersOptions options;
  options.preview_every = 3;
  const RunOutcome outcome = run(averaged, options);
  EXPECT_THAT(outcome.task->previews, ElementsAre("0", "3", "6", "7 validated last"));
  const torch::Tensor average = saved(averaged, 7, "ema.numbers"), last = saved(averaged, 7, "model.numbers");
  EXPECT_FALSE(average.allclose(last));
  EXPECT_TRUE(outcome.task->validated.back().equal(average));
  EXPECT_TRUE(outcome.task->previewed.back().equal(average));
  EXPECT_TRUE(outcome.task->values().equal(last));
}

// Listeners

TEST_F(TrainerTest, ListenersHearOfEverythingInOrder) {
  RunConfig heard = config();
  heard.training.steps = 3;
  heard.validation.enable = true;
  heard.validation.freq = 2;
  EXPECT_THAT(run(heard, killed_in(3)).events, ElementsAre("new", "starts", "step 1", "done 1", "step 2", "done 2",
                                                           "validation 2", "validated 2 on 4", "step 3", "failed"));
  EXPECT_THAT(run(heard).events, ElementsAre("resumed", "restored 2", "starts", "step 3", "done 3", "validation 3",
                                             "validated 3 on 4", "all steps"));
  EXPECT_EQ(saved_state(heard, 3).at("listeners").at("recorder").at("steps"), 3);
}

class UnwillingListener : public RunListener {
 public:
  std::string name() const override { return "unwilling"; }
  void run_ends(RunEnd) override { throw StorageError("the disk is full"); }
};

TEST_F(TrainerTest, AListenersFailureHidesNoOtherFailure) {
  const auto run_unwilling = [&](const RunConfig& config, const TenNumbersOptions& options) {
    std::vector<std::unique_ptr<RunListener>> listeners;
    listeners.push_back(std::make_unique<UnwillingListener>());
    return testing::run_ten_numbers(config, *alone_, options, std::move(listeners)).error;
  };
  EXPECT_EQ(run_unwilling(config("killed"), killed_in(2)), "killed");
  EXPECT_THAT(log_of(config("killed")), HasSubstr("[unwilling] expected to record the end of the run"));
  EXPECT_EQ(run_unwilling(config("complete"), {}), "the disk is full");
}

}  // namespace
}  // namespace millrace
