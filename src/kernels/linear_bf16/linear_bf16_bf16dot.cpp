#include "kernels/bf16_pairs_simd.h"
#include "kernels/gelu/gelu_simd.h"
#include "kernels/linear_bf16/linear_bf16_raw.h"

namespace millrace {
namespace {

// The block of the depth that begins at k.
int64_t depth_of_block(const LinearBf16Args& args, int64_t k) {
  return smaller(args.block_depth, args.padded_depth - k);
}

int64_t first_row_of(const LinearBf16Args& args, int64_t tile) {
  return tile * (args.rows / args.tiles) + smaller(tile, args.rows % args.tiles);
}

void pack_rows(const LinearBf16Args& args, int64_t first, int64_t end, uint32_t* packed) {
  for (int64_t k = 0; k < args.depth; k += args.block_depth) {
    const int64_t depth = depth_of_block(args, k);
    uint32_t* const block = packed + args.tiles * kTileRows * (k / 2);
    for (int64_t tile = first; tile < end; ++tile) {
      const int64_t row = first_row_of(args, tile);
      const SourceRows source{args.x + row * args.x_stride + k, args.x_stride, first_row_of(args, tile + 1) - row,
                              args.depth - k};
      pack_pairs(source, depth, block + tile * kTileRows * (depth / 2), kTileRows, kTileRows);
    }
  }
}

// One of a panel's two vectors of columns, from k on: 16 of the weight or, for the second one with a gate, the same
// 16 of the gate.
SourceRows source_of_panel(const LinearBf16Args& args, int64_t panel, int64_t half, int64_t k) {
  const bool gated = args.gate_weight != nullptr, of_gate = gated && half == 1;
  const uint16_t* weight = of_gate ? args.gate_weight : args.weight;
  const int64_t stride = of_gate ? args.gate_weight_stride : args.weight_stride;
  const int64_t column = panel * args.panel_width + (gated ? 0 : 16 * half);
  return {weight + column * stride + k, stride, smaller(16, args.columns - column), args.depth - k};
}

void pack_panel(const LinearBf16Args& args, int64_t panel, int64_t k, uint32_t* packed) {
  for (int64_t half = 0; half < 2; ++half) {
    pack_pairs(source_of_panel(args, panel, half, k), depth_of_block(args, k), packed + 16 * half, kPanelColumns, 16);
  }
}

// Panels of a block of the depth.
struct Panels {
  int64_t first, end, k;
};

// Prefetches the weights that pack_panel() will read from memory into the core's second-level cache: each of `parts`
// calls fetches a share.
void fetch(const LinearBf16Args& args, const Panels& panels, int64_t part, int64_t parts) {
  constexpr int64_t kLine = 32;  // elements
  const int64_t lines = (depth_of_block(args, panels.k) + kLine - 1) / kLine;
  const int64_t halves = 2 * (panels.end - panels.first);
  for (int64_t row = 16 * halves * part / parts; row < 16 * halves * (part + 1) / parts; ++row) {
    const SourceRows source = source_of_panel(args, panels.first + row / 32, row / 16 % 2, panels.k);
    if (row % 16 >= source.count) continue;
    const uint16_t* const first = source.first + row % 16 * source.stride;
    for (int64_t line = 0; line < lines; ++line) __builtin_prefetch(first + line * kLine, 0, 2);
  }
}

// One row of a tile: applies the operations after the products, and writes y.
template <typename Part>
MILLRACE_INLINE void finish(const LinearBf16Args& args, int64_t row, int64_t column, VecF sum, Part part) {
  if (args.bias != nullptr) sum += load(as_bf16(args.bias + column), part);
  if (args.residual != nullptr) sum += load(as_bf16(args.residual + row * args.residual_stride + column), part);
  store(reinterpret_cast<BF16*>(args.y + row * args.y_stride + column), sum, part);
}

void finish_tile(const LinearBf16Args& args, int64_t first_row, int64_t rows, int64_t column, const float* sums) {
  for (int64_t i = 0; i < rows; ++i) {
    const VecF left = load(sums + kPanelColumns * i, Full{}), right = load(sums + kPanelColumns * i + 16, Full{});
    const int64_t row = first_row + i, there = args.columns - column;
    if (args.gate_weight != nullptr) {
      with_part(there, [&](auto part) { finish(args, row, column, gelu_tanh(left) * right, part); });
    } else {
      with_part(there, [&](auto part) { finish(args, row, column, left, part); });
      with_part(there - 16, [&](auto part) { finish(args, row, column + 16, right, part); });
    }
  }
}

// The panels that a task multiplies after `now`: the next ones, or the first of the next block; empty at the end.
Panels after(const LinearBf16Args& args, const LinearBf16Task& task, const Panels& now) {
  Panels next{now.end, 0, now.k};
  if (next.first == task.end_panel) next = {task.first_panel, 0, now.k + args.block_depth};
  next.end = next.k < args.depth ? smaller(next.first + kPanelsAtOnce, task.end_panel) : next.first;
  return next;
}

// Block by block over the depth, so that a block of x, which exceeds the core's cache, is reread while it is in the
// cache shared by the cores.
void multiply(const LinearBf16Args& args, const uint32_t* packed, const LinearBf16Task& task) {
  const int64_t tiles = task.end_tile - task.first_tile;
  const bool one_block = args.depth <= args.block_depth;  // no sums need to be kept
  Panels now{task.first_panel, smaller(task.first_panel + kPanelsAtOnce, task.end_panel), 0};
  while (now.first < now.end) {
    const Panels next = after(args, task, now);
    const int64_t depth = depth_of_block(args, now.k), pairs = depth / 2, panel_pairs = kPanelColumns * pairs;
    const bool last = now.k + depth >= args.depth;
    const uint32_t* const block = packed + args.tiles * kTileRows * (now.k / 2);
    for (int64_t panel = now.first; panel < now.end; ++panel) {
      pack_panel(args, panel, now.k, task.panels + (panel - now.first) * panel_pairs);
    }
    for (int64_t tile = 0; tile < tiles; ++tile) {
      if (next.first < next.end) fetch(args, next, tile, tiles);
      const int64_t row = first_row_of(args, task.first_tile + tile);
      const int64_t rows = first_row_of(args, task.first_tile + tile + 1) - row;
      for (int64_t panel = now.first; panel < now.end; ++panel) {
        const int64_t kept = one_block ? 0 : (panel - task.first_panel) * tiles + tile;
        float* const sums = task.sums + kept * kTileSums;
        kMultiplyTile[rows](block + (task.first_tile + tile) * kTileRows * pairs,
                            task.panels + (panel - now.first) * panel_pairs, pairs, now.k > 0, sums);
        if (last) finish_tile(args, row, rows, panel * args.panel_width, sums);
      }
    }
    now = next;
  }
}

}  // namespace

const LinearBf16Kernels linear_bf16_kernels = {pack_rows, multiply};

}  // namespace millrace
