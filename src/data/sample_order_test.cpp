#include "data/sample_order.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

namespace millrace {
namespace {

const std::vector<int64_t> kCounts = {7, 0, 12, 1, 30};

SampleOrder make_order(uint64_t seed, bool shuffle, size_t buffer) {
  return SampleOrder(
      kCounts.size(), [](size_t shard) { return kCounts[shard]; }, seed, shuffle, buffer);
}

std::vector<SampleRef> epoch_of(SampleOrder& order) {
  std::vector<SampleRef> refs;
  while (const auto ref = order.next()) refs.push_back(*ref);
  return refs;
}

TEST(SampleOrder, EachEpochHasEachSampleOnce) {
  for (const size_t buffer : {1, 5, 1000}) {
    SampleOrder order = make_order(1, true, buffer);
    std::vector<SampleRef> before;
    for (uint32_t epoch = 0; epoch < 3; ++epoch) {
      EXPECT_EQ(order.epoch(), epoch);
      const std::vector<SampleRef> refs = epoch_of(order);
      std::set<std::pair<uint32_t, uint32_t>> seen;
      for (const SampleRef& ref : refs) seen.insert({ref.shard, ref.sample});
      EXPECT_EQ(refs.size(), 50u);
      EXPECT_EQ(seen.size(), 50u);
      EXPECT_NE(refs, before);
      before = refs;
    }
  }
}

TEST(SampleOrder, IsAFunctionOfTheSeed) {
  SampleOrder a = make_order(1, true, 8), b = make_order(1, true, 8), c = make_order(2, true, 8);
  const auto first = epoch_of(a);
  EXPECT_EQ(first, epoch_of(b));
  EXPECT_NE(first, epoch_of(c));
}

TEST(SampleOrder, WithoutShuffleSamplesComeAsTheyLie) {
  SampleOrder order = make_order(1, false, 100);
  std::vector<SampleRef> expected;
  for (uint32_t shard = 0; shard < kCounts.size(); ++shard) {
    for (uint32_t sample = 0; sample < kCounts[shard]; ++sample) expected.push_back({shard, sample});
  }
  EXPECT_EQ(epoch_of(order), expected);
  EXPECT_EQ(epoch_of(order), expected);
}

TEST(SampleOrder, GoesOnFromAnyState) {
  SampleOrder order = make_order(3, true, 9);
  std::vector<OrderState> states;
  std::vector<std::optional<SampleRef>> refs;
  for (int i = 0; i < 120; ++i) {
    states.push_back(order.state());
    refs.push_back(order.next());
  }
  for (size_t start = 0; start < states.size(); start += 7) {
    SampleOrder resumed = make_order(3, true, 9);
    resumed.restore(states[start]);
    for (size_t i = start; i < refs.size(); ++i) ASSERT_EQ(resumed.next(), refs[i]) << start << " " << i;
  }
}

// With a buffer that holds everything, any sample is as likely at any place.
TEST(SampleOrder, ALargeBufferShufflesEvenly) {
  std::map<int, int> first_shard;
  const int rounds = 4000;
  for (int seed = 0; seed < rounds; ++seed) {
    SampleOrder order = make_order(static_cast<uint64_t>(seed), true, 1000);
    ++first_shard[static_cast<int>(order.next()->shard)];
  }
  for (size_t shard = 0; shard < kCounts.size(); ++shard) {
    const double p = static_cast<double>(kCounts[shard]) / 50;
    EXPECT_NEAR(first_shard[static_cast<int>(shard)], p * rounds, 5 * std::sqrt(rounds * p * (1 - p)) + 1) << shard;
  }
}

}  // namespace
}  // namespace millrace
