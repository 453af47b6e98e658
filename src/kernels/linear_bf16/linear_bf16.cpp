#include "kernels/linear_bf16/linear_bf16.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/linear_bf16/linear_bf16_raw.h"
#include "kernels/round_up.h"

namespace millrace {
namespace {

// A task's panels: enough that a block of x is rarely read from the shared cache; few enough that many cores can share
// a layer.
constexpr int64_t kTaskPanels = 8;
// A task's tiles: all of them, up to 1,036 rows, whose sums take 1 MiB.
constexpr int64_t kTaskTiles = 74;

bool is_matrix(const torch::Tensor& x, int64_t rows, int64_t columns) {
  return x.is_cpu() && x.scalar_type() == torch::kBFloat16 && x.dim() == 2 && x.size(0) == rows &&
         x.size(1) == columns && (x.stride(1) == 1 || columns <= 1);
}

bool is_vector(const torch::Tensor& x, int64_t size) {
  return x.dim() == 1 && is_matrix(x.unsqueeze(0), 1, size);
}

bool fits(const torch::Tensor& x_MK, const LinearBf16& layer) {
  if (x_MK.dim() != 2 || layer.weight_NK.dim() != 2) return false;
  const int64_t rows = x_MK.size(0), depth = x_MK.size(1), columns = layer.weight_NK.size(0);
  const bool gated = layer.gate_weight_NK.defined(), adds = layer.bias_N.defined() || layer.residual_MN.defined();
  return depth > 0 && is_matrix(x_MK, rows, depth) && is_matrix(layer.weight_NK, columns, depth) && !(gated && adds) &&
         (!gated || is_matrix(layer.gate_weight_NK, columns, depth)) &&
         (!layer.bias_N.defined() || is_vector(layer.bias_N, columns)) &&
         (!layer.residual_MN.defined() || is_matrix(layer.residual_MN, rows, columns));
}

uint16_t* bits_of(const torch::Tensor& x) {
  return x.defined() ? static_cast<uint16_t*>(x.data_ptr()) : nullptr;
}

int64_t stride_of(const torch::Tensor& x) {
  return x.defined() ? x.stride(0) : 0;
}

LinearBf16Args make_args(const torch::Tensor& y_MN, const torch::Tensor& x_MK, const LinearBf16& layer) {
  const bool gated = layer.gate_weight_NK.defined();
  LinearBf16Args args{};
  args.rows = x_MK.size(0), args.depth = x_MK.size(1), args.columns = layer.weight_NK.size(0);
  args.tiles = ceil_div(args.rows, kTileRows);
  args.panel_width = gated ? kPanelColumns / 2 : kPanelColumns;
  args.padded_depth = round_up(args.depth, kDepthStep);
  args.block_depth = round_up(ceil_div(args.depth, ceil_div(args.depth, kMaxDepth)), kDepthStep);
  args.x = bits_of(x_MK), args.x_stride = stride_of(x_MK);
  args.weight = bits_of(layer.weight_NK), args.weight_stride = stride_of(layer.weight_NK);
  args.gate_weight = bits_of(layer.gate_weight_NK), args.gate_weight_stride = stride_of(layer.gate_weight_NK);
  args.bias = bits_of(layer.bias_N);
  args.residual = bits_of(layer.residual_MN), args.residual_stride = stride_of(layer.residual_MN);
  args.y = bits_of(y_MN), args.y_stride = stride_of(y_MN);
  return args;
}

// 4-byte elements, 64-byte aligned, as at::empty() gives them.
template <typename T>
T* memory_of(const torch::Tensor& memory) {
  static_assert(sizeof(T) == 4);
  return static_cast<T*>(memory.data_ptr());
}

// Hands out the panels of one group of tiles after the other. Cores differ in speed and all wait for the last one, so
// the parts become smaller towards a group's end.
class TaskQueue {
 public:
  TaskQueue(int64_t groups, int64_t panels, int64_t workers) : groups_(groups), panels_(panels), workers_(workers) {}

  // False: nothing is left.
  bool take(int64_t& group, int64_t& first_panel, int64_t& end_panel) {
    int64_t begin = next_, end = 0;
    do {
      if (begin >= groups_ * panels_) return false;
      const int64_t left = panels_ - begin % panels_;
      end = begin + std::min(left, std::clamp<int64_t>(left / (2 * workers_), kPanelsAtOnce, kTaskPanels));
    } while (!next_.compare_exchange_weak(begin, end));
    group = begin / panels_, first_panel = begin % panels_, end_panel = first_panel + end - begin;
    return true;
  }

 private:
  const int64_t groups_, panels_, workers_;
  std::atomic<int64_t> next_ = 0;
};

void run_tasks(const LinearBf16Args& args, const uint32_t* packed) {
  const int64_t panels = ceil_div(args.columns, args.panel_width);
  const int64_t tiles_each = ceil_div(args.tiles, ceil_div(args.tiles, kTaskTiles));
  const int64_t groups = ceil_div(args.tiles, tiles_each);
  const int64_t workers = std::min<int64_t>(at::get_num_threads(), groups * ceil_div(panels, kPanelsAtOnce));
  const int64_t panel_words = kPanelsAtOnce * kPanelColumns * args.block_depth / 2;
  const int64_t kept_tiles = args.depth > args.block_depth ? tiles_each * std::min(panels, kTaskPanels) : 1;
  TaskQueue queue(groups, panels, workers);
  at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    const torch::Tensor memory = torch::empty({panel_words + kept_tiles * kTileSums}, torch::kFloat32);
    LinearBf16Task task{};
    task.panels = memory_of<uint32_t>(memory);
    task.sums = memory_of<float>(memory) + panel_words;
    int64_t group = 0;
    for (int64_t worker = begin; worker < end; ++worker) {
      while (queue.take(group, task.first_panel, task.end_panel)) {
        task.first_tile = group * tiles_each, task.end_tile = std::min(args.tiles, task.first_tile + tiles_each);
        linear_bf16_kernels.multiply(args, packed, task);
      }
    }
  });
}

}  // namespace

bool suits_linear_bf16(const torch::Tensor& x_MK, const LinearBf16& layer) {
  constexpr int64_t kMinRows = 16, kMinWork = int64_t{1} << 20;  // multiplications
  return fits(x_MK, layer) && x_MK.size(0) >= kMinRows && x_MK.numel() * layer.weight_NK.size(0) >= kMinWork &&
         is_amd_processor() && has_bf16_dot_products();
}

void linear_bf16(const torch::Tensor& y_MN, const torch::Tensor& x_MK, const LinearBf16& layer) {
  MILLRACE_CHECK(has_bf16_dot_products());
  MILLRACE_CHECK(fits(x_MK, layer) && is_matrix(y_MN, x_MK.size(0), layer.weight_NK.size(0)));
  if (y_MN.numel() == 0) return;

  const LinearBf16Args args = make_args(y_MN, x_MK, layer);
  const torch::Tensor packed = torch::empty({args.tiles * kTileRows * args.padded_depth / 2}, torch::kFloat32);
  at::parallel_for(0, args.tiles, 4, [&](int64_t begin, int64_t end) {
    linear_bf16_kernels.pack_rows(args, begin, end, memory_of<uint32_t>(packed));
  });
  run_tasks(args, memory_of<uint32_t>(packed));
}

}  // namespace millrace
