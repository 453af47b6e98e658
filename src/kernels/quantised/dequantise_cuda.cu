// A tile of a quantised matrix: each thread decodes a few elements of a row that follow each other.
//
// Compiled with --fmad=false (CMakeLists.txt): the same bits as on a CPU.
#include "kernels/cuda_util.cuh"
#include "kernels/quantised/quantised_decode.h"

namespace millrace {
namespace {

constexpr const char* kOp = "quantised";
constexpr int kRun = 8;  // elements of a thread; divides every group of a block

struct DecodeFp8 {
  __device__ __forceinline__ static void run(const QuantisedMatrix& m, int64_t row, int64_t column, int n, float* x) {
    const float scale = m.row_scales != nullptr ? m.row_scales[row] : 1.0f;
    for (int j = 0; j < n; ++j) x[j] = float_of_e4m3(m.codes[row * m.columns + column + j]) * scale;
  }
};

struct DecodeInt8 {
  __device__ __forceinline__ static void run(const QuantisedMatrix& m, int64_t row, int64_t column, int n, float* x) {
    const float scale = m.row_scales[row];
    for (int j = 0; j < n; ++j) {
      x[j] = static_cast<float>(static_cast<int8_t>(m.codes[row * m.columns + column + j])) * scale;
    }
  }
};

struct DecodeNf4 {
  __device__ __forceinline__ static void run(const QuantisedMatrix& m, int64_t row, int64_t column, int n, float* x) {
    int64_t element = row * m.columns + column;
    float scale = nf4_scale(m.nf4_scales, element / kNf4Block);
    for (int j = 0; j < n; ++j, ++element) {
      if (j > 0 && element % kNf4Block == 0) scale = nf4_scale(m.nf4_scales, element / kNf4Block);
      x[j] = m.nf4_table[nf4_index(m.codes, element)] * scale;
    }
  }
};

// column is a multiple of kRun, and n is kRun: blocks are whole.
template <typename Blocks>
struct DecodeBlocks {
  __device__ __forceinline__ static void run(const QuantisedMatrix& m, int64_t row, int64_t column, int n, float* x) {
    const int64_t number = row * (m.columns / Blocks::kElements) + column / Blocks::kElements;
    const uint8_t* block = m.codes + number * Blocks::kBytes;
    const int in_block = static_cast<int>(column % Blocks::kElements);
    const int group = in_block / Blocks::kGroup, first = in_block % Blocks::kGroup;
    const BlockScale scale = Blocks::scale(block, group);
    for (int j = 0; j < n; ++j) x[j] = block_value<Blocks>(scale, Blocks::code(block, group, first + j));
  }
};

template <typename Decode, typename T>
__global__ void tile_kernel(DequantiseArgs args, int64_t runs_per_row, bool aligned) {
  const int64_t run = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (run >= args.rows * runs_per_row) return;
  const int64_t row = run / runs_per_row, column = run % runs_per_row * kRun;
  const int64_t left = args.columns - column;
  const int n = left < kRun ? static_cast<int>(left) : kRun;
  float x[kRun];
  Decode::run(args.matrix, args.row_begin + row, args.column_begin + column, n, x);
  T* out = static_cast<T*>(args.out) + row * args.out_stride + column;
  if (aligned && n == kRun) {
    constexpr int N = kPack<T>;
    for (int j = 0; j < kRun; j += N) {
      float pack[N];
      for (int k = 0; k < N; ++k) pack[k] = x[j + k];
      store<N>(out + j, pack);
    }
  } else {
    for (int j = 0; j < n; ++j) out[j] = from_float<T>(x[j]);
  }
}

template <typename Decode>
void decode_tile(const DequantiseArgs& args, GpuStream stream) {
  const int64_t runs_per_row = (args.columns + kRun - 1) / kRun;
  const int64_t blocks = (args.rows * runs_per_row + kMaxThreads - 1) / kMaxThreads;
  const bool aligned = is_aligned(args.out, 16) && args.out_stride % kRun == 0;
  if (args.type == ElementType::kF32) {
    launch(kOp, tile_kernel<Decode, float>, blocks, kMaxThreads, 0, stream, args, runs_per_row, aligned);
  } else {
    launch(kOp, tile_kernel<Decode, bf16>, blocks, kMaxThreads, 0, stream, args, runs_per_row, aligned);
  }
}

}  // namespace

void dequantise_cuda(const DequantiseArgs& args, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  switch (args.matrix.kind) {
    case QuantisedKind::kFp8:
      return decode_tile<DecodeFp8>(args, gpu_stream);
    case QuantisedKind::kInt8:
      return decode_tile<DecodeInt8>(args, gpu_stream);
    case QuantisedKind::kNf4:
      return decode_tile<DecodeNf4>(args, gpu_stream);
    case QuantisedKind::kBlocks:
      return with_blocks(args.matrix.format,
                         [&](auto blocks) { decode_tile<DecodeBlocks<decltype(blocks)>>(args, gpu_stream); });
  }
}

}  // namespace millrace
