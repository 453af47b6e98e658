#include "kernels/attention_bf16/attention_bf16_raw.h"
#include "kernels/bf16_pairs_simd.h"
#include "kernels/simd_exp.h"

namespace millrace {
namespace {

int64_t padded(int64_t depth) {
  return (depth + kDepthStep - 1) / kDepthStep * kDepthStep;
}

// Keys are a panel's columns: pairs along a row.
void pack_keys(const AttentionBf16Args& args) {
  uint32_t* panel = args.key_panels;
  for (int64_t key = 0; key < args.keys; key += kPanelColumns, panel += kPanelColumns * padded(args.size) / 2) {
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t first = key + 16 * half;
      pack_pairs({args.k.rows + first * args.k.stride, args.k.stride, smaller(16, args.keys - first), args.size},
                 padded(args.size), panel + 16 * half, kPanelColumns, 16);
    }
  }
}

// Values are summed over their rows: a pair is an element of one row and the one below it.
void pack_values(const AttentionBf16Args& args) {
  uint32_t* panel = args.value_panels;
  for (int64_t first = 0; first < args.size; first += 16) {
    uint32_t* column = panel + first % kPanelColumns;
    for (int64_t key = 0; key < padded(args.keys); key += 2, column += kPanelColumns) {
      VecW pairs{};
      with_part(args.size - first, [&](auto part) {
        const uint16_t* const row = args.v.rows + key * args.v.stride + first;
        if (key < args.keys) pairs = (VecW)load(as_bf16(row), part) >> 16;
        if (key + 1 < args.keys) pairs |= (VecW)load(as_bf16(row + args.v.stride), part);
      });
      __builtin_memcpy(column, &pairs, sizeof pairs);
    }
    if (first % kPanelColumns != 0) panel += kPanelColumns * padded(args.keys) / 2;
  }
}

// Turns the scores of one query, row i of the tile, into unnormalised weights, and returns their sum.
float soften(const AttentionBf16Args& args, int64_t query, int64_t i) {
  const auto score = [&](int64_t key) {
    return args.scores + key / kPanelColumns * kTileSums + i * kPanelColumns + key % kPanelColumns;
  };
  const uint16_t* const bias = args.bias.rows == nullptr ? nullptr : args.bias.rows + query * args.bias.stride;
  constexpr float kLowest = -3.402823466e38f;
  VecF most = splat(kLowest);
  for_vectors(args.keys, [&](int64_t key, auto part) {
    VecF x = load(score(key), Full{}) * args.scale;
    if (bias != nullptr) x += load(as_bf16(bias + key), part);
    store(score(key), x, Full{});
    most = larger(with_others(x, kLowest, part), most);
  });
  const float top = reduce_larger(most);

  VecF sum{};
  uint16_t* const weights = args.weights + i * padded(args.keys);
  for_vectors(args.keys, [&](int64_t key, auto part) {
    // The lower bound of exp_bounded(); e^-87 is negligible beside the largest weight, 1.
    const VecF weight = keep(exp_bounded(at_least(load(score(key), Full{}) - top, -87.0f)), part);
    sum += weight;
    store(reinterpret_cast<BF16*>(weights + key), weight, Full{});  // rows are padded
  });
  return reduce_add(sum);
}

}  // namespace

void attention_bf16_head(const AttentionBf16Args& args) {
  pack_keys(args);
  pack_values(args);
  const int64_t size_pairs = padded(args.size) / 2, key_pairs = padded(args.keys) / 2;
  for (int64_t first = 0; first < args.queries; first += kTileRows) {
    const int64_t rows = smaller(kTileRows, args.queries - first);
    pack_pairs({args.q.rows + first * args.q.stride, args.q.stride, rows, args.size}, padded(args.size),
               args.query_tile, kTileRows, kTileRows);
    for (int64_t panel = 0; panel * kPanelColumns < args.keys; ++panel) {
      kMultiplyTile[rows](args.query_tile, args.key_panels + panel * kPanelColumns * size_pairs, size_pairs, false,
                          args.scores + panel * kTileSums);
    }
    float parts[kTileRows];
    for (int64_t i = 0; i < rows; ++i) parts[i] = 1 / soften(args, first + i, i);
    pack_pairs({args.weights, padded(args.keys), rows, args.keys}, padded(args.keys), args.weight_tile, kTileRows,
               kTileRows);
    for (int64_t column = 0; column < args.size; column += kPanelColumns) {
      kMultiplyTile[rows](args.weight_tile, args.value_panels + column * key_pairs, key_pairs, false, args.sums);
      for (int64_t i = 0; i < rows; ++i) {
        uint16_t* const out = args.out.rows + (first + i) * args.out.stride + column;
        for (int64_t half = 0; half < 2; ++half) {
          const VecF sum = load(args.sums + i * kPanelColumns + 16 * half, Full{}) * parts[i];
          with_part(args.size - column - 16 * half,
                    [&](auto part) { store(reinterpret_cast<BF16*>(out + 16 * half), sum, part); });
        }
      }
    }
  }
}

}  // namespace millrace
