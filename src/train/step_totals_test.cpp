#include "train/step_totals.h"

#include <gtest/gtest.h>

#include <cmath>
#include <csignal>

#include "comm/communicator.h"
#include "data/sample_digest.h"

namespace millrace {
namespace {

torch::Tensor fp64(double value) {
  return torch::full({1}, value, torch::kFloat64);
}

StepShare share_of(double loss, double squares) {
  StepShare share;
  share.add({.loss_1 = fp64(loss / 2),
             .weight = 2.5,
             .num_samples = 3,
             .num_tokens = 60,
             .data_seconds = 0.5,
             .sample_digest = 100});
  share.add({.loss_1 = fp64(loss / 2),
             .weight = 0,
             .num_samples = 4,
             .num_tokens = 80,
             .data_seconds = 0.25,
             .sample_digest = 1});
  share.squares_1 = fp64(squares);
  return share;
}

// One rank of 2 replicas x 2 tp ranks, without the others: the totals are what this rank adds.
StepTotals totals_of(int rank, const StepShare& share) {
  CommOptions options;
  options.shape = {.dp_replicate = 2, .dp_shard = 1, .tp = 2};
  const auto ranks = fake(4, rank, options);
  return exchange(share, ranks->mesh());
}

TEST(StepTotals, OnOneRankAreItsShare) {
  const auto alone = connect({}, {});
  const StepTotals totals = exchange(share_of(1.5, 9), alone->mesh());
  EXPECT_EQ(totals.loss_sum, 1.5);
  EXPECT_EQ(totals.weight, 2.5);
  EXPECT_EQ(totals.squares, 9);
  EXPECT_EQ(totals.squares_1.item<double>(), 9);
  EXPECT_EQ(totals.samples, 7);
  EXPECT_EQ(totals.tokens, 140);
  EXPECT_EQ(totals.data_seconds, 0.75);
  EXPECT_EQ(totals.sample_digest, 101u);
  EXPECT_EQ(totals.bad_losses + totals.bad_gradients + totals.saves_over, 0);
  EXPECT_EQ(totals.stop_signal, 0);
}

TEST(StepTotals, WhatRanksHoldTwiceCountsOnce) {
  // Ranks 0 and 1 are the first replica, ranks 0 and 2 the first of their tp groups.
  EXPECT_EQ(totals_of(0, share_of(1.5, 9)).loss_sum, 1.5);
  EXPECT_EQ(totals_of(0, share_of(1.5, 9)).weight, 2.5);
  EXPECT_EQ(totals_of(1, share_of(1.5, 9)).loss_sum, 0);
  EXPECT_EQ(totals_of(1, share_of(1.5, 9)).weight, 0);
  EXPECT_EQ(totals_of(1, share_of(1.5, 9)).samples, 0);
  EXPECT_EQ(totals_of(1, share_of(1.5, 9)).squares, 9);
  EXPECT_EQ(totals_of(2, share_of(1.5, 9)).squares, 0);
  EXPECT_EQ(totals_of(2, share_of(1.5, 9)).tokens, 140);
}

TEST(StepTotals, BadNumbersAndStopsAreSeenWhereverTheyAre) {
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(totals_of(rank, share_of(NAN, 9)).bad_losses, 1) << rank;
    EXPECT_EQ(totals_of(rank, share_of(1, INFINITY)).bad_gradients, 1) << rank;
    StepShare share = share_of(1, 1);
    share.stop_signal = SIGUSR1;
    share.save_is_over = true;
    EXPECT_EQ(totals_of(rank, share).stop_signal, SIGUSR1) << rank;
    EXPECT_EQ(totals_of(rank, share).saves_over, 1) << rank;
  }
}

TEST(SampleDigest, DependsOnSamplesAndEpochsAlone) {
  const uint64_t whole = sample_digest({0, 0, 1}, {11, 12, 11});
  EXPECT_EQ(sample_digest({1, 0, 0}, {11, 12, 11}), whole);
  EXPECT_EQ(sample_digest({0}, {12}) + sample_digest({1, 0}, {11, 11}), whole);
  EXPECT_NE(sample_digest({0, 0, 0}, {11, 12, 11}), whole);
  EXPECT_NE(sample_digest({0, 0, 1}, {11, 13, 11}), whole);
}

}  // namespace
}  // namespace millrace
