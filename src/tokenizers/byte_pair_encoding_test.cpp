#include "tokenizers/byte_pair_encoding.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "base/philox.h"

namespace millrace {
namespace {

using Ranks = std::map<std::pair<int32_t, int32_t>, std::pair<size_t, int32_t>>;

std::vector<int32_t> by_definition(std::vector<int32_t> symbols, const Ranks& ranks) {
  while (true) {
    size_t best_rank = SIZE_MAX, best = 0;
    int32_t joined = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find({symbols[i], symbols[i + 1]});
      if (found == ranks.end() || found->second.first >= best_rank) continue;
      best_rank = found->second.first;
      best = i;
      joined = found->second.second;
    }
    if (best_rank == SIZE_MAX) return symbols;
    symbols[best] = joined;
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

TEST(BytePairEncoding, ShortAndLongWordsFollowTheDefinition) {
  const RandomStream random = random_stream(1, RandomPurpose::kShuffle, 0, 0);
  uint64_t drawn = 0;
  const auto below = [&](uint64_t bound) { return static_cast<int32_t>(random_below(random, drawn++, bound)); };
  BytePairEncoding merges;
  Ranks ranks;
  int32_t next = 4;  // symbols 0 to 3 and what merges make of them
  while (next < 60) {
    const std::pair<int32_t, int32_t> pair{below(next), below(next)};
    if (!ranks.emplace(pair, std::pair{ranks.size(), next}).second) continue;
    merges.add_merge(pair.first, pair.second, next++);
  }
  for (int trial = 0; trial < 400; ++trial) {
    std::vector<int32_t> word(static_cast<size_t>(below(trial % 4 == 0 ? 300 : 50)));
    for (int32_t& symbol : word) symbol = below(trial % 3 == 0 ? 1 : 4);
    std::vector<int32_t> joined = word;
    merges.apply(joined);
    EXPECT_EQ(joined, by_definition(word, ranks));
  }
}

TEST(BytePairEncoding, WithoutMergesNothingJoins) {
  std::vector<int32_t> word(100, 7);
  BytePairEncoding().apply(word);
  EXPECT_EQ(word.size(), 100u);
}

}  // namespace
}  // namespace millrace
