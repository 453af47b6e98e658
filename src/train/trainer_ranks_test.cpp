// The step loop on many ranks: threads that train ten numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/loaded_checkpoint.h"
#include "checkpoint/test_support.h"
#include "nn/tensor_io.h"
#include "train/thread_ranks_test_support.h"
#include "train/trainer_test_support.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;
using testing::RunOutcome;
using testing::TenNumbersOptions;

class TrainerOnRanks : public ::testing::Test {
 protected:
  // Six samples a step, on any ranks.
  RunConfig config(const std::string& run, int data_ranks) const {
    RunConfig config = testing::ten_numbers_config(folder_.path() / run);
    config.training.local_batch_size = 6 / data_ranks;
    return config;
  }
  static std::vector<RunOutcome> run(const RunConfig& config, const MeshShape& shape,
                                     const std::function<TenNumbersOptions(int rank)>& options) {
    std::vector<RunOutcome> outcomes(static_cast<size_t>(shape.size()));
    testing::run_thread_ranks(shape, [&](Communicator& ranks) {
      const int rank = ranks.world().rank;
      RunOutcome& outcome = outcomes[static_cast<size_t>(rank)];
      outcome = testing::run_ten_numbers(config, ranks, options(rank));
      outcome.task.reset();  // before its ranks
    });
    return outcomes;
  }
  static std::map<std::string, torch::Tensor> saved(const RunConfig& config) {
    const LoadedCheckpoint checkpoint(testing::step_folder(config, 7));
    std::map<std::string, torch::Tensor> tensors;
    for (const auto& [name, about] : checkpoint.tensors()) tensors[name] = checkpoint.read(name);
    return tensors;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(TrainerOnRanks, UnequalWeightsAddUpOverRanksAndMicrobatches) {
  TenNumbersOptions options;
  // The samples of a rank may all weigh nothing, and so may a whole step.
  options.weight = [](int64_t sample) {
    return sample % 6 < 3 || sample / 6 == 4 ? 0 : static_cast<double>(sample % 7);
  };
  const RunConfig alone = config("alone", 1);
  EXPECT_EQ(run(alone, {}, [&](int) { return options; }).at(0).error, "");
  const std::map<std::string, torch::Tensor> expected = saved(alone);
  for (const MeshShape& shape : {MeshShape{.dp_shard = 2}, MeshShape{.dp_replicate = 2}, MeshShape{.dp_shard = 3},
                                 MeshShape{.dp_replicate = 2, .tp = 2}}) {
    RunConfig ranks_config = config(to_string(shape), shape.dp_replicate * shape.dp_shard);
    ranks_config.training.global_batch_size = 6;
    if (shape.dp_shard == 2) ranks_config.training.local_batch_size = 1;  // three microbatches
    for (const RunOutcome& outcome : run(ranks_config, shape, [&](int) { return options; }))
      EXPECT_EQ(outcome.error, "");
    for (const auto& [name, tensor] : saved(ranks_config)) {
      EXPECT_TRUE(tensor.allclose(expected.at(name), 1e-5, 1e-6)) << name << " on " << to_string(shape);
    }
    EXPECT_EQ(testing::saved_state(ranks_config, 7).at("empty_steps"), 1);
  }
}

TEST_F(TrainerOnRanks, ASignalToOneRankStopsAllAndTheyResume) {
  const MeshShape shape{.dp_shard = 3};
  const RunConfig undisturbed = config("undisturbed", 3), stopped = config("stopped", 3);
  const auto plainly = [](int) { return TenNumbersOptions{}; };
  run(undisturbed, shape, plainly);
  const auto with_signal = [](int rank) {
    TenNumbersOptions options;
    options.disturb = [=](int64_t microbatch) {
      if (rank == 1 && microbatch == 3) std::raise(SIGTERM);
      return 0.0;
    };
    return options;
  };
  for (const RunOutcome& outcome : run(stopped, shape, with_signal)) EXPECT_EQ(outcome.code, ExitCode::kPreempted);
  EXPECT_EQ(testing::saved_steps(stopped).back(), 3);
  for (const RunOutcome& outcome : run(stopped, shape, plainly)) EXPECT_EQ(outcome.error, "");
  const auto expected = saved(undisturbed), got = saved(stopped);
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(got.at(name).equal(tensor)) << name;
}

TEST_F(TrainerOnRanks, ABadNumberOnOneRankIsNamedOnAll) {
  const auto with_bad_number = [](int rank) {
    TenNumbersOptions options;
    options.weight = [=](int64_t sample) { return rank == 1 && sample > 20 ? 1e200 : 1; };
    return options;
  };
  for (const RunOutcome& outcome : run(config("bad", 2), {.dp_shard = 2}, with_bad_number)) {
    EXPECT_EQ(outcome.code, ExitCode::kNumerics);
    EXPECT_THAT(outcome.error, HasSubstr("[step 4, rank "));
  }
}

// One rank for the machine on which all of them are, whichever of them has the bad loss.
TEST_F(TrainerOnRanks, OneRankSearchesTheWeightFilesForTheCause) {
  for (const bool on_all : {true, false}) {
    std::atomic<int> searches{0};
    const std::filesystem::path weights = folder_.path() / "weights.safetensors";
    save_tensors(weights, {{"spoilt", torch::full({3}, NAN)}});
    const auto with_bad_loss = [&](int rank) {
      TenNumbersOptions options;
      options.expected_sample_weight = 1e-10;  // what losses are divided by
      options.weight = [=](int64_t sample) { return (on_all || rank == 2) && sample > 17 ? 1e305 : 1; };
      options.weight_sources = [&] {
        ++searches;
        return std::vector<WeightSource>{{.path = weights}};
      };
      return options;
    };
    for (const RunOutcome& outcome : run(config(str("bad-", on_all), 3), {.dp_shard = 3}, with_bad_loss)) {
      EXPECT_EQ(outcome.code, ExitCode::kNumerics);
      EXPECT_THAT(outcome.error, HasSubstr(str("[step 4, rank ", on_all ? 0 : 2, " on here] expected a finite loss")));
      EXPECT_THAT(outcome.error, HasSubstr("spoilt: 3 of 3 numbers are nan (try another copy of the file)"));
    }
    EXPECT_EQ(searches, 1);
  }
}

}  // namespace
}  // namespace millrace
