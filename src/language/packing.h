// Several samples in one row of fixed length, so that no place is spent on padding.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "language/token_sample.h"

namespace millrace {

struct Pack {
  std::vector<int32_t> tokens;            // max_length of them; padding is token 0
  std::vector<int32_t> labels;            // padding is ignored
  std::vector<int32_t> positions;         // start anew with each sample
  std::vector<int32_t> sequence_lengths;  // of the samples, and of the padding behind them where there is any
};

struct PackingOptions {
  int64_t max_length = 0;
  bool split_across_packs = false;  // a sample may continue in the next pack, where its positions continue
  std::optional<int64_t> max_packs;
};

// torchtune's PackedDataset: samples in their order, the next pack begun with the first that does not fit. Without
// splitting, a sample longer than max_length is an error (DataError, naming the sample).
class GreedyPacker {
 public:
  explicit GreedyPacker(const PackingOptions& options);
  // False: max_packs are full, and no further sample will be looked at.
  bool add(const TokenSample& sample);
  std::vector<Pack> finish();

 private:
  bool full() const;
  void split();
  void emit(size_t length, std::vector<int32_t> sequence_lengths);

  PackingOptions options_;
  std::vector<Pack> packs_;
  Pack open_;
  size_t boundary_ = 0;  // where the last sample in open_ begins
  int64_t count_ = 0;
};

std::vector<Pack> pack_greedily(std::span<const TokenSample> samples, const PackingOptions& options);

// Best-fit decreasing: each sample, the longest first, goes into the pack in which it leaves the least room. Returns
// which samples are in which pack; packs are as full as 99 % and more when lengths are mixed. Throws DataError for a
// sample that is longer than max_length. Samples of no length are left out. O(n log n).
std::vector<std::vector<int64_t>> pack_best_fit(std::span<const int64_t> lengths, int64_t max_length);

// The pack of these samples in this order; together they fit max_length.
Pack make_pack(std::span<const TokenSample* const> samples, int64_t max_length);

}  // namespace millrace
