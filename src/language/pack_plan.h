// Which parts of which rows share a pack, from the rows' lengths alone: packs are then made when they are needed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "language/packing.h"

namespace millrace {

// Tokens [begin, begin + length) of a row.
struct TextPiece {
  int64_t row = 0, begin = 0, length = 0;
  bool operator==(const TextPiece&) const = default;
};
using TextPieces = std::vector<TextPiece>;

// The packs that GreedyPacker makes of the rows in this order. lengths: by row; rows of no tokens are left out.
std::vector<TextPieces> plan_greedy_packs(std::span<const int64_t> rows, std::span<const int64_t> lengths,
                                          const PackingOptions& options);
// Those of pack_best_fit().
std::vector<TextPieces> plan_best_fit_packs(std::span<const int64_t> rows, std::span<const int64_t> lengths,
                                            const PackingOptions& options);

}  // namespace millrace
