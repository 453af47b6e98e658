// How matrices of bf16 are packed for dot products of pairs. The summed dimension (depth) is split into pairs of 32
// bits; for each pair in turn, the rows of a tile, or the columns of a panel, lie side by side. The depth is padded
// with zeros to a multiple of kDepthStep.
#pragma once

#include <cstdint>

namespace millrace {

inline constexpr int64_t kTileRows = 14;      // 14 x 2 vectors of sums leave 4 of 32 registers
inline constexpr int64_t kPanelColumns = 32;  // 2 vectors of sums
inline constexpr int64_t kTileSums = kTileRows * kPanelColumns;
inline constexpr int64_t kDepthStep = 32;  // 16 pairs: the unit of a transposition of 16 x 16 pairs

}  // namespace millrace
