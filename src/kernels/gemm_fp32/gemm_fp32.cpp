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

// A panel of this depth is half of a core's first-level cache or more, a block of kBlockRows rows of it three quarters
// of the second-level cache (of 512 KiB, as AMD's processors have at least).
constexpr int64_t kMaxDepth = 256;
constexpr int64_t kBlockRows = 384;
// Of b, packed for all threads: 16 MiB. Of its columns at least so many, as a is packed again for the next ones.
constexpr int64_t kPackedElements = int64_t{1} << 22;
constexpr int64_t kMinColumns = 1024;
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

// Columns [first, end) of b, as packed: block by block of the depth, panel by panel.
struct PackedColumns {
  int64_t first, end;
  float* memory;
};

GemmSide part_of(const GemmSide& side, int64_t first, int64_t k) {
  return {side.data + first * side.step + k * side.depth_step, side.step, side.depth_step};
}

float* packed_panel(const Product& product, const PackedColumns& columns, int64_t k, int64_t panel) {
  const int64_t width = product.kernels.panel_columns, panels = ceil_div(columns.end - columns.first, width);
  const int64_t depth = std::min(product.block_depth, product.depth - k);
  return columns.memory + panels * width * k + panel * width * depth;
}

void pack_columns(const Product& product, const PackedColumns& columns) {
  const int64_t width = product.kernels.panel_columns, count = columns.end - columns.first;
  at::parallel_for(0, ceil_div(count, width), 2, [&](int64_t begin, int64_t end) {
    for (int64_t k = 0; k < product.depth; k += product.block_depth) {
      const int64_t depth = std::min(product.block_depth, product.depth - k), first = begin * width;
      product.kernels.pack(part_of(product.b, columns.first + first, k), std::min(count, end * width) - first, depth,
                           width, packed_panel(product, columns, k, begin), width * depth);
    }
  });
}

// Rows [row, row + rows) of the product by the columns of panels [first, end). `packed_rows` is scratch memory.
void multiply_block(const Product& product, const PackedColumns& columns, int64_t row, int64_t rows, int64_t first,
                    int64_t end, float* packed_rows) {
  const int64_t height = product.kernels.tile_rows, width = product.kernels.panel_columns;
  const int64_t first_column = columns.first + first * width;
  for (int64_t k = 0; k < product.depth; k += product.block_depth) {
    const int64_t depth = std::min(product.block_depth, product.depth - k);
    product.kernels.pack(part_of(product.a, row, k), rows, depth, height, packed_rows, height * depth);
    product.kernels.multiply({.rows = rows,
                              .columns = std::min(columns.end, columns.first + end * width) - first_column,
                              .depth = depth,
                              .a = packed_rows,
                              .b = packed_panel(product, columns, k, first),
                              .panel_step = width * depth,
                              .out = product.out + row * product.out_stride + first_column,
                              .out_stride = product.out_stride,
                              .accumulate = product.accumulate || k > 0});
  }
}

// Each worker takes the next block of rows by a group of panels until none is left.
void multiply_columns(const Product& product, const PackedColumns& columns) {
  const int64_t panels = ceil_div(columns.end - columns.first, product.kernels.panel_columns);
  const int64_t threads = at::get_num_threads(), row_blocks = ceil_div(product.rows, kBlockRows);
  const int64_t wanted = threads == 1 ? 1 : std::min(panels, ceil_div(kTasksPerWorker * threads, row_blocks));
  const int64_t group = ceil_div(panels, wanted), tasks = row_blocks * ceil_div(panels, group);
  // Rows are distributed evenly, by whole tiles.
  const int64_t block_rows = round_up(ceil_div(product.rows, row_blocks), product.kernels.tile_rows);
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min(threads, tasks), 1, [&](int64_t begin, int64_t end) {
    const torch::Tensor packed_rows = torch::empty({block_rows * product.block_depth}, torch::kFloat32);
    for (int64_t worker = begin; worker < end; ++worker) {
      for (int64_t task = next++; task < tasks; task = next++) {
        const int64_t row = task % row_blocks * block_rows, first = task / row_blocks * group;
        if (row >= product.rows) continue;  // rounding up has left nothing for the last block
        multiply_block(product, columns, row, std::min(block_rows, product.rows - row), first,
                       std::min(panels, first + group), packed_rows.data_ptr<float>());
      }
    }
  });
}

}  // namespace

bool suits_gemm_fp32(const torch::Tensor& a_MK, const torch::Tensor& b_KN) {
  constexpr int64_t kMinSide = 32, kMinDepth = 16, kMinWork = int64_t{1} << 20;  // multiplications
  static const bool is_served_badly = is_amd_processor() && detected_cpu_level() == CpuLevel::kV3;
  return is_served_badly && cpu_level() == CpuLevel::kV3 && fits(a_MK, b_KN) && a_MK.size(0) >= kMinSide &&
         a_MK.size(1) >= kMinDepth && b_KN.size(1) >= kMinSide && a_MK.numel() * b_KN.size(1) >= kMinWork;
}

void gemm_fp32(const torch::Tensor& out_MN, const torch::Tensor& a_MK, const torch::Tensor& b_KN, bool accumulate) {
  MILLRACE_CHECK(fits(a_MK, b_KN) && is_fp32_on_cpu(out_MN) && out_MN.size(0) == a_MK.size(0) &&
                 out_MN.size(1) == b_KN.size(1) && (out_MN.stride(1) == 1 || out_MN.size(1) <= 1));
  if (out_MN.numel() == 0) return;
  const int64_t depth = a_MK.size(1), block_depth = ceil_div(depth, ceil_div(depth, kMaxDepth));
  Product product{.kernels = MILLRACE_SELECT_KERNELS(gemm_fp32_kernels),
                  .rows = a_MK.size(0),
                  .depth = depth,
                  .columns = b_KN.size(1),
                  .block_depth = block_depth,
                  .a = {a_MK.const_data_ptr<float>(), a_MK.stride(0), a_MK.stride(1)},
                  .b = {b_KN.const_data_ptr<float>(), b_KN.stride(1), b_KN.stride(0)},
                  .out = out_MN.data_ptr<float>(),
                  .out_stride = out_MN.stride(0),
                  .accumulate = accumulate};
  const int64_t columns_at_once = round_up(std::min(product.columns, std::max(kMinColumns, kPackedElements / depth)),
                                           product.kernels.panel_columns);
  const int64_t depth_at_once =
      std::min(depth, std::max(block_depth, kPackedElements / columns_at_once / block_depth * block_depth));
  const torch::Tensor memory = torch::empty({columns_at_once * depth_at_once}, torch::kFloat32);
  const GemmSide a = product.a, b = product.b;
  for (int64_t k = 0; k < depth; k += depth_at_once) {
    product.depth = std::min(depth_at_once, depth - k);
    product.a = part_of(a, 0, k), product.b = part_of(b, 0, k);
    product.accumulate = accumulate || k > 0;
    for (int64_t first = 0; first < product.columns; first += columns_at_once) {
      const PackedColumns columns{first, std::min(product.columns, first + columns_at_once), memory.data_ptr<float>()};
      pack_columns(product, columns);
      multiply_columns(product, columns);
    }
  }
}

}  // namespace millrace
