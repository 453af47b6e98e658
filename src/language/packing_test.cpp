#include "language/packing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "base/error.h"
#include "base/philox.h"
#include "language/test_support.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using json = nlohmann::ordered_json;

TokenSample sample_of(const json& value) {
  return {value["tokens"].get<std::vector<int32_t>>(), value["labels"].get<std::vector<int32_t>>()};
}

TEST(Packing, EqualsTorchtunesPackedDataset) {
  int packed = 0, refused = 0;
  for (const json& one : golden_json("data/packs.json")) {
    PackingOptions options{.max_length = one["max_seq_len"], .split_across_packs = one["split_across_pack"]};
    if (!one["max_packs"].is_null()) options.max_packs = one["max_packs"].get<int64_t>();
    std::vector<TokenSample> samples;
    for (const json& sample : one["samples"]) samples.push_back(sample_of(sample));
    if (one.contains("error") && !one["error"].is_null()) {
      EXPECT_THROW(pack_greedily(samples, options), DataError);
      ++refused;
      continue;
    }
    const std::vector<Pack> packs = pack_greedily(samples, options);
    ASSERT_EQ(packs.size(), one["packs"].size());
    for (size_t i = 0; i < packs.size(); ++i) {
      const json& expected = one["packs"][i];
      EXPECT_EQ(packs[i].tokens, expected["tokens"].get<std::vector<int32_t>>());
      EXPECT_EQ(packs[i].labels, expected["labels"].get<std::vector<int32_t>>());
      EXPECT_EQ(packs[i].positions, expected["input_pos"].get<std::vector<int32_t>>());
      EXPECT_EQ(packs[i].sequence_lengths, expected["seq_lens"].get<std::vector<int32_t>>());
    }
    ++packed;
  }
  EXPECT_GT(packed, 3);
  EXPECT_GT(refused, 0);
}

TEST(Packing, BestFitTakesEverySampleOnceAndFillsThePacks) {
  const RandomStream random = random_stream(3, RandomPurpose::kShuffle, 0, 0);
  std::vector<int64_t> lengths;
  for (uint64_t i = 0; i < 5000; ++i) lengths.push_back(20 + static_cast<int64_t>(random_below(random, i, 700)));
  const auto packs = pack_best_fit(lengths, 1024);
  std::set<int64_t> seen;
  for (const auto& pack : packs) {
    int64_t total = 0;
    for (const int64_t sample : pack) {
      EXPECT_TRUE(seen.insert(sample).second);
      total += lengths[static_cast<size_t>(sample)];
    }
    EXPECT_LE(total, 1024);
  }
  EXPECT_EQ(seen.size(), lengths.size());
  const auto tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  EXPECT_GE(static_cast<double>(tokens), 0.99 * 1024 * static_cast<double>(packs.size()));
}

TEST(Packing, BestFitLeavesTheLeastRoom) {
  EXPECT_THAT(pack_best_fit(std::vector<int64_t>{3, 7, 0, 6, 4, 10}, 10),
              ElementsAre(ElementsAre(5), ElementsAre(1, 0), ElementsAre(3, 4)));
  EXPECT_THAT(message_of<DataError>([] {
                pack_best_fit(std::vector<int64_t>{3, 11}, 10);
              }),
              HasSubstr("[sample 2] expected at most 10 tokens, got 11"));
}

TEST(Packing, MakesPacksOfChosenSamples) {
  const TokenSample a{{5, 6}, {6, -100}}, b{{7}, {-100}};
  const std::vector<const TokenSample*> both = {&b, &a};
  const Pack pack = make_pack(both, 5);
  EXPECT_THAT(pack.tokens, ElementsAre(7, 5, 6, 0, 0));
  EXPECT_THAT(pack.labels, ElementsAre(-100, 6, -100, -100, -100));
  EXPECT_THAT(pack.positions, ElementsAre(0, 0, 1, 2, 3));
  EXPECT_THAT(pack.sequence_lengths, ElementsAre(1, 2, 2));
}

}  // namespace
}  // namespace millrace
