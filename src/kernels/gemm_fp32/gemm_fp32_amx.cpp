// gemm_fp32 with Intel's AMX, which multiplies tiles of bf16 sixteen times as fast as AVX-512 multiplies fp32.
//
// A float of 24 bits is the sum of three bf16 of 8 bits: x = high + middle + low, exactly. Of the nine products of two
// such sums six are computed; the three that are left out, middle * low, low * middle and low * low, are below 2^-24 of
// x * y, as the rounding of a float is. Products of bf16 are exact in fp32, and so are the sums' numbers: the result is
// as exact as that of fp32 instructions. (The same is known as BF16x6; Henry, Tang and Heinecke 2019, "Leveraging the
// bfloat16 artificial intelligence datatype for higher-precision computations".)
//
// Differences: numbers below 1e-38 count as zero, and infinities, as well as numbers above 3.39e38, become NaN.
//
// Packed, 32 rows or columns by 32 of the depth are a step: [plane: high, middle, low][half][16 x 16 words of 64
// bytes], a word being a pair along the depth. A row of such a tile is a row of a, with its 16 pairs; or, of b, one
// pair of each of 16 columns.
#include "kernels/gemm_fp32/gemm_fp32_raw.h"
#include "kernels/words_simd.h"

namespace millrace {
namespace {

constexpr int64_t kSide = 32;  // of a tile of the product
// A panel of a block is half of the first-level cache. A block of rows, and the sums of a part, are half of the
// second-level cache (of 2 MiB).
constexpr int64_t kBlockDepth = 128, kBlockRows = 384, kBlockColumns = 512;
constexpr int64_t kDepthStep = 32;                   // numbers of two bytes fill a register's row
constexpr int64_t kRegisterWords = 16 * 16;          // 1 KiB
constexpr int64_t kPlaneWords = 2 * kRegisterWords;  // both halves
constexpr int64_t kStepWords = 3 * kPlaneWords;
constexpr int64_t kTileSums = kSide * kSide;

MILLRACE_INLINE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
MILLRACE_INLINE int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// ---- Packing --------------------------------------------------------------------------------------------------------

// bf16 in the upper halves, zero in the lower ones.
struct Planes {
  VecU high, middle, low;
};

// To nearest, so that what is left is half as large and of either sign: sums of neglected products do not drift.
MILLRACE_INLINE VecU rounded(VecF x) {
  return ((VecU)x + 0x8000u) & 0xFFFF0000u;
}

MILLRACE_INLINE Planes split(VecF x) {
  const VecU high = rounded(x);
  const VecF rest = x - (VecF)high;
  const VecU middle = rounded(rest);
  return {high, middle, (VecU)(rest - (VecF)middle)};
}

// The words of 32 neighbours along the depth.
MILLRACE_INLINE VecW neighbours(VecU first, VecU second) {
  using Halves [[gnu::vector_size(64)]] = uint16_t;
  return (VecW)__builtin_shufflevector((Halves)first, (Halves)second, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27,
                                       29, 31, 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63);
}

// The words of 16 rows or columns side by side, from one place of the depth and the next.
MILLRACE_INLINE VecW side_by_side(VecU even, VecU odd) {
  return (VecW)((even >> 16) | (odd & 0xFFFF0000u));
}

MILLRACE_INLINE VecF load_some(const float* p, int64_t count) {
  if (count >= kLanes) return load(p, Full{});
  return (VecF)_mm512_maskz_loadu_ps(count > 0 ? static_cast<__mmask16>((1u << count) - 1) : __mmask16{0}, p);
}

// Vector i of plane p is at words + p * kPlaneWords + 16 * i.
MILLRACE_INLINE void write_vector(VecW high, VecW middle, VecW low, uint32_t* words) {
  __builtin_memcpy(words, &high, sizeof high);
  __builtin_memcpy(words + kPlaneWords, &middle, sizeof middle);
  __builtin_memcpy(words + 2 * kPlaneWords, &low, sizeof low);
}

void transpose_planes(uint32_t* words) {
  for (int plane = 0; plane < 3; ++plane) {
    VecW rows[16];
    __builtin_memcpy(rows, words + plane * kPlaneWords, sizeof rows);
    transpose(rows);
    __builtin_memcpy(words + plane * kPlaneWords, rows, sizeof rows);
  }
}

// What the next call for the same place of the depth will read: neither of these orders is one that the processor
// foresees.
MILLRACE_INLINE void fetch_next(const float* from, const GemmSide& side) {
  __builtin_prefetch(from + kSide * side.step);
  __builtin_prefetch(from + kSide * side.step + 16);
}

// 16 rows or columns, of which `valid` exist, by kDepthStep of the depth, of which `depth` exist.
struct Half {
  GemmSide side;
  int64_t valid, depth;
  uint32_t* words;
};

template <bool kOfRows>
MILLRACE_INLINE void pack_half(const Half& half) {
  const GemmSide& side = half.side;
  const bool depth_is_contiguous = side.depth_step == 1;
  if (depth_is_contiguous) {
    for (int64_t i = 0; i < 16; ++i) {
      const float* const from = side.data + i * side.step;
      fetch_next(from, side);
      const Planes left = split(i < half.valid ? load_some(from, half.depth) : VecF{});
      const Planes right = split(i < half.valid ? load_some(from + 16, half.depth - 16) : VecF{});
      write_vector(neighbours(left.high, right.high), neighbours(left.middle, right.middle),
                   neighbours(left.low, right.low), half.words + 16 * i);
    }
  } else {
    for (int64_t pair = 0; pair < kDepthStep / 2; ++pair) {
      const auto place = [&](int64_t k) {
        const float* const from = side.data + k * side.depth_step;
        fetch_next(from, side);
        if (k >= half.depth) return VecF{};
        if (side.step == 1) return load_some(from, half.valid);
        VecF x{};
        for (int64_t i = 0; i < smaller(16, half.valid); ++i) x[i] = from[i * side.step];
        return x;
      };
      const Planes even = split(place(2 * pair)), odd = split(place(2 * pair + 1));
      write_vector(side_by_side(even.high, odd.high), side_by_side(even.middle, odd.middle),
                   side_by_side(even.low, odd.low), half.words + 16 * pair);
    }
  }
  if (depth_is_contiguous != kOfRows) transpose_planes(half.words);
}

// The kStepWords of each step of the depth, one after the other.
template <bool kOfRows>
void pack(const GemmSide& side, int64_t count, int64_t depth, float* packed, int64_t packed_step) {
  for (int64_t first = 0; first < count; first += kSide, packed += packed_step) {
    auto* words = reinterpret_cast<uint32_t*>(packed);
    for (int64_t k = 0; k < depth; k += kDepthStep, words += kStepWords) {
      for (int64_t half = 0; half < 2; ++half) {
        const int64_t i = first + 16 * half;
        const GemmSide rest{side.data + i * side.step + k * side.depth_step, side.step, side.depth_step};
        pack_half<kOfRows>({rest, count - i, depth - k, words + half * kRegisterWords});
      }
    }
  }
}

// ---- Multiplying ----------------------------------------------------------------------------------------------------

// The layout that LDTILECFG reads: eight registers of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileConfig kTileConfig;

// Registers 0 to 3 are the sums [row half][column half], 4 and 5 the halves of a, 6 and 7 those of b.
template <int kRowHalves, int kColumnHalves>
MILLRACE_INLINE void load_sums(const float* sums) {
  constexpr int64_t kBytes = kSide * sizeof(float);
  _tile_loadd(0, sums, kBytes);
  if constexpr (kColumnHalves == 2) _tile_loadd(1, sums + 16, kBytes);
  if constexpr (kRowHalves == 2) _tile_loadd(2, sums + 16 * kSide, kBytes);
  if constexpr (kRowHalves == 2 && kColumnHalves == 2) _tile_loadd(3, sums + 16 * kSide + 16, kBytes);
}

template <int kRowHalves, int kColumnHalves>
MILLRACE_INLINE void store_sums(float* sums) {
  constexpr int64_t kBytes = kSide * sizeof(float);
  _tile_stored(0, sums, kBytes);
  if constexpr (kColumnHalves == 2) _tile_stored(1, sums + 16, kBytes);
  if constexpr (kRowHalves == 2) _tile_stored(2, sums + 16 * kSide, kBytes);
  if constexpr (kRowHalves == 2 && kColumnHalves == 2) _tile_stored(3, sums + 16 * kSide + 16, kBytes);
}

template <int kHalves>
MILLRACE_INLINE void load_a(const uint32_t* a, int plane) {
  _tile_loadd(4, a + plane * kPlaneWords, 64);
  if constexpr (kHalves == 2) _tile_loadd(5, a + plane * kPlaneWords + kRegisterWords, 64);
}

template <int kHalves>
MILLRACE_INLINE void load_b(const uint32_t* b, int plane) {
  _tile_loadd(6, b + plane * kPlaneWords, 64);
  if constexpr (kHalves == 2) _tile_loadd(7, b + plane * kPlaneWords + kRegisterWords, 64);
}

template <int kRowHalves, int kColumnHalves>
MILLRACE_INLINE void multiply_registers() {
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kColumnHalves == 2) _tile_dpbf16ps(1, 4, 7);
  if constexpr (kRowHalves == 2) _tile_dpbf16ps(2, 5, 6);
  if constexpr (kRowHalves == 2 && kColumnHalves == 2) _tile_dpbf16ps(3, 5, 7);
}

// To the compiler the instructions of tiles neither read nor write memory: nothing may be moved past this.
MILLRACE_INLINE void keep_memory_in_order() {
  __asm__ volatile("" ::: "memory");
}

// A tile of the product in memory.
struct Tile {
  const uint32_t *a, *b;  // packed
  int64_t depth;
  const float* before;  // [kSide][kSide]: the sums so far, or null
  float* after;         // [kSide][kSide]
};

// Early enough to have the next tile's sums in the first-level cache, late enough for a and b not to drive them out.
MILLRACE_INLINE void fetch_next_sums(const Tile& tile) {
  if (tile.before == nullptr) return;
  for (int64_t i = 0; i < kTileSums; i += kLanes) __builtin_prefetch(tile.before + kTileSums + i, 1);
}

// A tile of one or two halves each way.
template <int kRowHalves, int kColumnHalves>
void multiply_tile(const Tile& tile) {
  constexpr int kHigh = 0, kMiddle = 1, kLow = 2;
  const auto multiply = multiply_registers<kRowHalves, kColumnHalves>;
  keep_memory_in_order();
  if (tile.before != nullptr) {
    load_sums<kRowHalves, kColumnHalves>(tile.before);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const uint32_t *a = tile.a, *b = tile.b;
  for (int64_t k = 0; k < tile.depth; k += kDepthStep, a += kStepWords, b += kStepWords) {
    // Only one side changes from each product to the next.
    load_a<kRowHalves>(a, kLow), load_b<kColumnHalves>(b, kHigh), multiply();
    load_a<kRowHalves>(a, kMiddle), multiply();
    load_b<kColumnHalves>(b, kMiddle), multiply();
    load_a<kRowHalves>(a, kHigh), multiply();
    load_b<kColumnHalves>(b, kLow), multiply();
    load_b<kColumnHalves>(b, kHigh), multiply();
    if (k + kDepthStep >= tile.depth) fetch_next_sums(tile);
  }
  store_sums<kRowHalves, kColumnHalves>(tile.after);
  keep_memory_in_order();
}

using MultiplyTile = void (*)(const Tile& tile);
constexpr MultiplyTile kMultiplyTile[2][2] = {{multiply_tile<1, 1>, multiply_tile<1, 2>},
                                              {multiply_tile<2, 1>, multiply_tile<2, 2>}};

MILLRACE_INLINE void fetch(const float* out, int64_t rows, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i) {
    __builtin_prefetch(out + i * stride, 1);
    __builtin_prefetch(out + i * stride + 16, 1);
  }
}

void write(const float* sums, int64_t rows, int64_t columns, float* out, int64_t stride, bool accumulate) {
  for (int64_t i = 0; i < rows; ++i, sums += kSide, out += stride) {
    for (int64_t j = 0; j < columns; j += kLanes) {
      const int64_t left = columns - j;
      const __mmask16 there = left >= kLanes ? 0xFFFF : static_cast<__mmask16>((1u << left) - 1);
      VecF sum = load(sums + j, Full{});
      if (accumulate) sum += (VecF)_mm512_maskz_loadu_ps(there, out + j);
      _mm512_mask_storeu_ps(out + j, there, (__m512)sum);
    }
  }
}

// A panel of b stays in the first-level cache while all tiles of a pass by.
void multiply(const GemmPart& part) {
  _tile_loadconfig(&kTileConfig);
  alignas(64) float sums[kTileSums];
  const int64_t tile_floats = kStepWords * ceil_div(part.depth, kDepthStep);
  const float* b = part.b;
  float* kept = part.kept;
  for (int64_t column = 0; column < part.columns; column += kSide, b += part.panel_step) {
    const int64_t columns = smaller(kSide, part.columns - column);
    const float* a = part.a;
    for (int64_t row = 0; row < part.rows; row += kSide, a += tile_floats, kept += kTileSums) {
      const int64_t rows = smaller(kSide, part.rows - row);
      float* const out = part.out + row * part.out_stride + column;
      if (part.last) fetch(out, rows, part.out_stride);
      kMultiplyTile[rows > 16][columns > 16]({.a = reinterpret_cast<const uint32_t*>(a),
                                              .b = reinterpret_cast<const uint32_t*>(b),
                                              .depth = part.depth,
                                              .before = part.first ? nullptr : kept,
                                              .after = part.last ? sums : kept});
      if (part.last) write(sums, rows, columns, out, part.out_stride, part.accumulate);
    }
  }
  _tile_release();
}

}  // namespace

const GemmFp32Kernels gemm_fp32_kernels_amx = {.tile_rows = kSide,
                                               .panel_columns = kSide,
                                               .block_rows = kBlockRows,
                                               .block_columns = kBlockColumns,
                                               .block_depth = kBlockDepth,
                                               .depth_step = kDepthStep,
                                               .halfwords = 3,
                                               .keeps_sums = true,
                                               .pack_rows = pack<true>,
                                               .pack_columns = pack<false>,
                                               .multiply = multiply};

}  // namespace millrace
