#include "kernels/gemm_fp32/gemm_fp32.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/gemm_fp32/gemm_fp32_raw.h"
#include "kernels/round_up.h"

namespace millrace {
namespace {

// How much of each side is packed at once, for all threads: 8 MiB, or 12 for AMX.
constexpr int64_t kPackedElements = int64_t{1} << 21;
// At least so many columns or rows, because the other side may have to be packed anew for the rest of them.
constexpr int64_t kMinColumns = 1024, kMinRows = 512;
// Blocks of the depth whose sums may be made in one go: always the same ones, whatever is packed at once.
constexpr int64_t kBlocksInOneGo = 16;
// Cores differ in speed, and all wait for the last one.
constexpr int64_t kTasksPerWorker = 4;

bool is_fp32_on_cpu(const torch::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == torch::kFloat32 && x.dim() == 2;
}

bool fits(const torch::Tensor& a_MK, const torch::Tensor& b_KN) {
  return is_fp32_on_cpu(a_MK) && is_fp32_on_cpu(b_KN) && a_MK.size(1) == b_KN.size(0) && a_MK.size(1) > 0;
}

// The product, and how it is cut: the depth into blocks, of which all but the last are block_depth deep.
struct Product {
  const GemmFp32Kernels& kernels;
  int64_t rows, depth, columns;
  int64_t block_depth;
  GemmSide a, b;
  float* out;
  int64_t out_stride;
  bool accumulate;
};

GemmSide part_of(const GemmSide& side, int64_t first, int64_t k) {
  return {side.data + first * side.step + k * side.depth_step, side.step, side.depth_step};
}

// Rows of a or columns of b, [first, end), as packed: block by block of the depth, tile by tile or panel by panel.
struct PackedSide {
  int64_t width;  // of a tile or panel
  int64_t first, end;
  float* memory;

  int64_t count() const { return ceil_div(end - first, width); }  // of tiles or panels

  float* at(const Product& product, int64_t k, int64_t index) const {
    const int64_t depth = std::min(product.block_depth, product.depth - k), block = k / product.block_depth;
    return memory + block * count() * product.kernels.packed_size(width, product.block_depth) +
           index * product.kernels.packed_size(width, depth);
  }
};

using Pack = decltype(GemmFp32Kernels::pack_rows);

void pack_side(const Product& product, const GemmSide& side, Pack pack, const PackedSide& packed) {
  at::parallel_for(0, packed.count(), 2, [&](int64_t begin, int64_t end) {
    const int64_t first = packed.first + begin * packed.width, last = packed.first + end * packed.width;
    for (int64_t k = 0; k < product.depth; k += product.block_depth) {
      const int64_t depth = std::min(product.block_depth, product.depth - k);
      pack(part_of(side, first, k), std::min(packed.end, last) - first, depth, packed.at(product, k, begin),
           product.kernels.packed_size(packed.width, depth));
    }
  });
}

// Tiles of rows by panels of columns, [first, end) each.
struct Task {
  int64_t first_tile, end_tile, first_panel, end_panel;
};

void multiply_task(const Product& product, const PackedSide& rows, const PackedSide& columns, const Task& task,
                   float* kept) {
  const int64_t first_row = rows.first + task.first_tile * rows.width;
  const int64_t first_column = columns.first + task.first_panel * columns.width;
  for (int64_t k = 0; k < product.depth; k += product.block_depth) {
    const int64_t depth = std::min(product.block_depth, product.depth - k), block = k / product.block_depth;
    product.kernels.multiply(
        {.rows = std::min(rows.end, rows.first + task.end_tile * rows.width) - first_row,
         .columns = std::min(columns.end, columns.first + task.end_panel * columns.width) - first_column,
         .depth = depth,
         .a = rows.at(product, k, task.first_tile),
         .b = columns.at(product, k, task.first_panel),
         .panel_step = product.kernels.packed_size(columns.width, depth),
         .out = product.out + first_row * product.out_stride + first_column,
         .out_stride = product.out_stride,
         .accumulate = product.accumulate || block >= kBlocksInOneGo,
         .first = block % kBlocksInOneGo == 0,
         .last = (block + 1) % kBlocksInOneGo == 0 || k + depth == product.depth,
         .kept = kept});
  }
}

// How many panels make a group, of which each makes a task with every block of rows: as many as there may be, but
// equally many tasks for each worker, if that can be had. Of nine tasks, two workers would take the time of ten.
int64_t panels_in_group(const GemmFp32Kernels& kernels, int64_t panels, int64_t row_blocks) {
  const int64_t threads = at::get_num_threads(), block_panels = kernels.block_columns / kernels.panel_columns;
  const int64_t wanted = threads == 1 ? 1 : ceil_div(kTasksPerWorker * threads, row_blocks);
  const int64_t fewest = std::min(panels, std::max(wanted, ceil_div(panels, block_panels)));
  for (int64_t groups = fewest; groups <= std::min(panels, fewest + threads); ++groups) {
    const int64_t size = ceil_div(panels, groups);
    if (row_blocks * ceil_div(panels, size) % threads == 0) return size;
  }
  return ceil_div(panels, fewest);
}

// Each worker takes the next block of rows by a group of panels until none is left.
void multiply_packed(const Product& product, const PackedSide& rows, const PackedSide& columns) {
  const GemmFp32Kernels& kernels = product.kernels;
  const int64_t threads = at::get_num_threads(), tiles = rows.count(), panels = columns.count();
  const int64_t row_blocks = ceil_div(tiles, kernels.block_rows / rows.width);
  const int64_t block_tiles = ceil_div(tiles, row_blocks);
  const int64_t group_panels = panels_in_group(kernels, panels, row_blocks);
  const int64_t tasks = row_blocks * ceil_div(panels, group_panels);
  const int64_t kept_size = kernels.keeps_sums ? block_tiles * rows.width * group_panels * columns.width : 0;
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min(threads, tasks), 1, [&](int64_t begin, int64_t end) {
    const torch::Tensor kept = torch::empty({kept_size}, torch::kFloat32);
    for (int64_t worker = begin; worker < end; ++worker) {
      for (int64_t task = next++; task < tasks; task = next++) {
        const int64_t tile = task % row_blocks * block_tiles, panel = task / row_blocks * group_panels;
        if (tile >= tiles) continue;  // rounding up has left nothing for the last block
        multiply_task(product, rows, columns,
                      {tile, std::min(tiles, tile + block_tiles), panel, std::min(panels, panel + group_panels)},
                      kept.data_ptr<float>());
      }
    }
  });
}

// What is packed at once.
struct Portion {
  int64_t rows, depth, columns;
};

// As few parts as there can be of at most `largest`, of nearly the same size.
int64_t even_part(int64_t size, int64_t largest, int64_t step) {
  return round_up(ceil_div(size, ceil_div(size, largest)), step);
}

Portion portion_of(const Product& product) {
  const int64_t columns =
      even_part(product.columns, std::max(kMinColumns, kPackedElements / product.depth), product.kernels.panel_columns);
  const int64_t blocks =
      std::max(kBlocksInOneGo, kPackedElements / columns / product.block_depth / kBlocksInOneGo * kBlocksInOneGo);
  const int64_t depth = std::min(round_up(product.depth, product.block_depth), blocks * product.block_depth);
  const int64_t rows = even_part(product.rows, std::max(kMinRows, kPackedElements / depth), product.kernels.tile_rows);
  return {rows, depth, columns};
}

}  // namespace

const GemmFp32Kernels& gemm_fp32_kernels() {
  return has_bf16_tiles() ? gemm_fp32_kernels_amx : MILLRACE_SELECT_KERNELS(gemm_fp32_kernels);
}

bool suits_gemm_fp32(const torch::Tensor& a_MK, const torch::Tensor& b_KN) {
  if (!has_bf16_tiles() || !fits(a_MK, b_KN)) return false;
  const int64_t side = std::min(a_MK.size(0), b_KN.size(1)), depth = a_MK.size(1);
  const int64_t work = a_MK.numel() * b_KN.size(1);  // multiplications
  // Packing takes as long as multiplying by some hundred rows or columns; over a long depth nothing makes up for it.
  return side >= (depth > 1024 ? 512 : 192) && depth >= 64 && work >= int64_t{1} << 24;
}

void gemm_fp32(const torch::Tensor& out_MN, const torch::Tensor& a_MK, const torch::Tensor& b_KN, bool accumulate) {
  MILLRACE_CHECK(fits(a_MK, b_KN) && is_fp32_on_cpu(out_MN) && out_MN.size(0) == a_MK.size(0) &&
                 out_MN.size(1) == b_KN.size(1) && (out_MN.stride(1) == 1 || out_MN.size(1) <= 1));
  if (out_MN.numel() == 0) return;
  const GemmFp32Kernels& kernels = gemm_fp32_kernels();
  const int64_t depth = a_MK.size(1), blocks = ceil_div(depth, kernels.block_depth);
  const int64_t block_depth = round_up(ceil_div(depth, blocks), kernels.depth_step);
  Product product{.kernels = kernels,
                  .rows = a_MK.size(0),
                  .depth = depth,
                  .columns = b_KN.size(1),
                  .block_depth = block_depth,
                  .a = {a_MK.const_data_ptr<float>(), a_MK.stride(0), a_MK.stride(1)},
                  .b = {b_KN.const_data_ptr<float>(), b_KN.stride(1), b_KN.stride(0)},
                  .out = out_MN.data_ptr<float>(),
                  .out_stride = out_MN.stride(0),
                  .accumulate = accumulate};
  const Portion portion = portion_of(product);
  const torch::Tensor packed_rows =
      torch::empty({product.kernels.packed_size(portion.rows, portion.depth)}, torch::kFloat32);
  const torch::Tensor packed_columns =
      torch::empty({product.kernels.packed_size(portion.columns, portion.depth)}, torch::kFloat32);
  const GemmSide a = product.a, b = product.b;
  for (int64_t k = 0; k < depth; k += portion.depth) {
    product.depth = std::min(portion.depth, depth - k);
    product.a = part_of(a, 0, k), product.b = part_of(b, 0, k);
    product.accumulate = accumulate || k > 0;
    for (int64_t column = 0; column < product.columns; column += portion.columns) {
      const PackedSide columns{kernels.panel_columns, column, std::min(product.columns, column + portion.columns),
                               packed_columns.data_ptr<float>()};
      pack_side(product, product.b, kernels.pack_columns, columns);
      for (int64_t row = 0; row < product.rows; row += portion.rows) {
        const PackedSide rows{kernels.tile_rows, row, std::min(product.rows, row + portion.rows),
                              packed_rows.data_ptr<float>()};
        // All rows stay packed, if they are as few.
        if (column == 0 || portion.rows < product.rows) pack_side(product, product.a, kernels.pack_rows, rows);
        multiply_packed(product, rows, columns);
      }
    }
  }
}

}  // namespace millrace
