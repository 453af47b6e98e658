#include "language/epoch_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "base/error.h"
#include "language/microbatch_plan.h"
#include "language/packing.h"
#include "language/sample_order.h"

namespace millrace {
namespace {

std::vector<int64_t> first_rows(const EpochPlan& plan) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < plan.size(); ++i) rows.push_back(plan.sample(i).front().row);
  return rows;
}

std::vector<int64_t> counted(int64_t size) {
  std::vector<int64_t> numbers(static_cast<size_t>(size));
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  return numbers;
}

EpochPlanOptions rows_of(int64_t count) {
  EpochPlanOptions options;
  options.num_rows = count;
  return options;
}

// Indexes of a plan's passes, as epoch * 100 + index.
std::vector<std::vector<int64_t>> numbers_of(const PlannedPasses& passes) {
  std::vector<std::vector<int64_t>> numbers;
  for (const auto& pass : passes) {
    numbers.emplace_back();
    for (const PlannedSample& sample : pass) numbers.back().push_back(sample.epoch * 100 + sample.index);
  }
  return numbers;
}

TEST(EpochPlan, EveryEpochHasEveryRowInAnOrderOfItsOwn) {
  const EpochPlanner planner(rows_of(50), {});
  std::vector<int64_t> first = first_rows(planner.epoch(0)), second = first_rows(planner.epoch(1));
  EXPECT_NE(first, second);
  EXPECT_NE(first, counted(50));
  EXPECT_EQ(first, first_rows(planner.epoch(0)));
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  EXPECT_EQ(first, counted(50));
  EXPECT_EQ(second, counted(50));
}

TEST(EpochPlan, TorchtunePacksEachDataSetOfAListByItself) {
  EpochPlanOptions options = rows_of(4);
  options.packing = Packing::kGreedy;
  options.order = EpochOrder::kTorchtune;
  options.shuffle = false;
  options.packs = {4, false, std::nullopt};
  options.parts = {{1, {4, false, std::nullopt}}, {4, {4, true, std::nullopt}}};
  const EpochPlan plan = EpochPlanner(options, {3, 3, 3, 2}).epoch(0);
  ASSERT_EQ(plan.size(), 3);
  EXPECT_EQ(plan.sample(0), (TextPieces{{0, 0, 3}}));
  EXPECT_EQ(plan.sample(1), (TextPieces{{1, 0, 3}, {2, 0, 1}}));
  EXPECT_EQ(plan.sample(2), (TextPieces{{2, 1, 2}, {3, 0, 2}}));
}

TEST(EpochPlan, TheSeedChangesTheOrderButNotTorchtunes) {
  EpochPlanOptions options = rows_of(50), other = rows_of(50);
  other.seed = 1;
  EXPECT_NE(first_rows(EpochPlanner(options, {}).epoch(0)), first_rows(EpochPlanner(other, {}).epoch(0)));
  options.order = other.order = EpochOrder::kTorchtune;
  EXPECT_EQ(first_rows(EpochPlanner(options, {}).epoch(3)), torchtune_sample_order(50, 3, true));
  EXPECT_EQ(first_rows(EpochPlanner(other, {}).epoch(3)), torchtune_sample_order(50, 3, true));
}

TEST(EpochPlan, PlansTheGreedyPackersPacks) {
  const std::vector<int64_t> lengths = {5, 3, 0, 4, 8, 1, 1, 7, 8, 2};
  std::vector<TokenSample> samples;
  for (const int64_t length : lengths) {
    const auto size = static_cast<size_t>(length);
    samples.push_back({std::vector<int32_t>(size, 1), std::vector<int32_t>(size, 1)});
  }
  for (const bool split : {false, true}) {
    for (const std::optional<int64_t> max_packs : {std::optional<int64_t>(), std::optional<int64_t>(3)}) {
      const PackingOptions options{8, split, max_packs};
      std::vector<std::vector<int32_t>> expected, got;
      for (const Pack& pack : pack_greedily(samples, options)) {
        const auto trained = std::count(pack.tokens.begin(), pack.tokens.end(), 1);
        expected.emplace_back();
        int64_t sum = 0;
        for (const int32_t length : pack.sequence_lengths) {
          if (length > 0 && sum < trained) expected.back().push_back(length);
          sum += length;
        }
      }
      for (const TextPieces& pieces : plan_greedy_packs(counted(10), lengths, options)) {
        got.emplace_back();
        for (const TextPiece& piece : pieces) got.back().push_back(static_cast<int32_t>(piece.length));
      }
      EXPECT_EQ(got, expected) << split << max_packs.has_value();
    }
  }
}

TEST(EpochPlan, BestFitPacksHoldEveryRowOnce) {
  EpochPlanOptions options = rows_of(40);
  options.packing = Packing::kBestFit;
  options.packs.max_length = 20;
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 40; ++i) lengths.push_back(1 + i % 13);
  const EpochPlan plan = EpochPlanner(options, lengths).epoch(0);
  std::multiset<int64_t> rows;
  for (int64_t i = 0; i < plan.size(); ++i) {
    int64_t sum = 0;
    for (const TextPiece& piece : plan.sample(i)) {
      rows.insert(piece.row);
      sum += piece.length;
    }
    EXPECT_LE(sum, 20);
  }
  const std::vector<int64_t> all = counted(40);
  EXPECT_EQ(rows, std::multiset<int64_t>(all.begin(), all.end()));
}

TEST(EpochPlan, ARowLongerThanAPackIsNamed) {
  EXPECT_THROW(plan_greedy_packs(counted(2), std::vector<int64_t>{3, 9}, {8, false, {}}), DataError);
  EXPECT_THROW(plan_best_fit_packs(counted(2), std::vector<int64_t>{3, 9}, {8, false, {}}), DataError);
}

TEST(MicrobatchPlan, TheStreamRunsAcrossEpochsAndEndsWithTheLast) {
  EpochPlanOptions epochs = rows_of(5);
  epochs.shuffle = false;
  MicrobatchPlan plan(EpochPlanner(epochs, {}), {.samples = 3, .per_step = 2, .epochs = 2});
  EXPECT_EQ(plan.steps(), 2);                                  // 10 samples in steps of 6
  EXPECT_EQ(plan.epoch_ends(), (std::vector<int64_t>{1, 2}));  // the first is over within a step
  EXPECT_EQ(numbers_of(plan.next()), (std::vector<std::vector<int64_t>>{{0, 1, 2}}));
  EXPECT_EQ(numbers_of(plan.next()), (std::vector<std::vector<int64_t>>{{3, 4, 100}}));
  EXPECT_EQ(numbers_of(plan.next()), (std::vector<std::vector<int64_t>>{{101, 102, 103}}));
  EXPECT_EQ(numbers_of(plan.next()), (std::vector<std::vector<int64_t>>{{104}}));
  EXPECT_EQ(numbers_of(plan.next()), (std::vector<std::vector<int64_t>>{{}}));
}

TEST(MicrobatchPlan, TorchtuneCarriesWhatIsLeftOverIntoTheNextEpoch) {
  EpochPlanOptions epochs = rows_of(7);
  epochs.order = EpochOrder::kTorchtune;
  // Seven rows are three microbatches of two, a step takes two.
  MicrobatchPlan plan(EpochPlanner(epochs, {}), {.samples = 2, .per_step = 2, .epochs = 3});
  EXPECT_EQ(plan.steps(), 3);
  EXPECT_EQ(plan.epoch_ends(), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(numbers_of(plan.next()), (std::vector<std::vector<int64_t>>{{0, 1}}));
  EXPECT_EQ(numbers_of(plan.next()), (std::vector<std::vector<int64_t>>{{2, 3}}));
  EXPECT_EQ(numbers_of(plan.next()), (std::vector<std::vector<int64_t>>{{4, 5}, {100, 101}}));
  EXPECT_EQ(numbers_of(plan.next()), (std::vector<std::vector<int64_t>>{{102, 103}}));
}

TEST(MicrobatchPlan, OrLeavesItOut) {
  EpochPlanOptions epochs = rows_of(7);
  epochs.order = EpochOrder::kTorchtune;
  MicrobatchPlan plan(EpochPlanner(epochs, {}), {.samples = 2, .per_step = 2, .epochs = 2, .carries_over = false});
  EXPECT_EQ(plan.steps(), 2);
  plan.next();
  plan.next();
  EXPECT_EQ(numbers_of(plan.next()), (std::vector<std::vector<int64_t>>{{100, 101}}));
}

TEST(MicrobatchPlan, RestoresAnyPosition) {
  for (const EpochOrder order : {EpochOrder::kMillrace, EpochOrder::kTorchtune}) {
    EpochPlanOptions epochs = rows_of(11);
    epochs.order = order;
    MicrobatchPlan plan(EpochPlanner(epochs, {}), {.samples = 2, .per_step = 2});
    for (int i = 0; i < 9; ++i) {
      MicrobatchPlan restored(EpochPlanner(epochs, {}), {.samples = 2, .per_step = 2});
      restored.restore(plan.position());
      MicrobatchPlan copy = plan;
      for (int k = 0; k < 4; ++k) EXPECT_EQ(numbers_of(copy.next()), numbers_of(restored.next()));
      plan.next();
    }
  }
  MicrobatchPlan plan(EpochPlanner(rows_of(3), {}), {.samples = 1});
  EXPECT_THROW(plan.restore("{}"), DataError);
  EXPECT_THROW(plan.restore(R"({"epoch": 0, "next": 4})"), DataError);
}

TEST(MicrobatchPlan, RefusesAnEpochWithoutAWholeStep) {
  EpochPlanOptions epochs = rows_of(5);
  epochs.order = EpochOrder::kTorchtune;
  EXPECT_THROW(MicrobatchPlan(EpochPlanner(epochs, {}), {.samples = 2, .per_step = 3}), ConfigError);
  EXPECT_THROW(MicrobatchPlan(EpochPlanner(rows_of(0), {}), {.samples = 2}), DataError);
}

}  // namespace
}  // namespace millrace
