// attention_bf16 on raw memory. See attention_bf16.h for the letters, and kernels/bf16_pairs.h for how matrices are
// packed.
#pragma once

#include <cstdint>

#include "kernels/bf16_pairs.h"

namespace millrace {

// A head of one sample: its first row, and the elements from one row to the next.
struct HeadRows {
  uint16_t* rows;
  int64_t stride;
};

struct AttentionBf16Args {
  int64_t queries, keys, size;  // L, S, D
  float scale;
  HeadRows q, k, v, out;
  HeadRows bias;  // [L, S], or null

  // Scratch memory, 64-byte aligned. Panel counts are rounded up; depths are padded (bf16_pairs.h).
  uint32_t* key_panels;    // over the size: panels of keys
  uint32_t* value_panels;  // over the keys: panels of the size
  uint32_t* query_tile;    // over the size
  uint32_t* weight_tile;   // over the keys
  float* scores;           // kTileSums for each panel of keys
  float* sums;             // kTileSums
  uint16_t* weights;       // kTileRows rows of the keys' padded number
};

// Writes out. The scratch memory need not be initialised.
void attention_bf16_head(const AttentionBf16Args& args);

}  // namespace millrace
