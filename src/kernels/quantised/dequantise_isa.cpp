// Rows of a tile, in vectors. Compiled without contraction (CMakeLists.txt): every level gives the same bits.
//
// fp8 and int8 are widened a vector at a time; nf4 looks its indices up in a table that already holds the block's
// scale; GGUF's blocks are plain loops over a group's codes, which the compiler turns into vectors.
#include "kernels/quantised/quantised_decode.h"
#include "kernels/simd.h"

namespace millrace {
namespace {

using VecB [[gnu::vector_size(kLanes)]] = uint8_t;

// Bytes to 32 bits, with zeros or with the sign above them.
MILLRACE_INLINE VecI widen_bytes(const uint8_t* p) {
  VecB bytes;
  __builtin_memcpy(&bytes, p, sizeof bytes);
#if defined(MILLRACE_ISA_v4)
  return (VecI)_mm512_maskz_cvtepu8_epi32(0xFFFF, (__m128i)bytes);
#elif defined(MILLRACE_ISA_v3)
  return (VecI)_mm256_cvtepu8_epi32(_mm_set_epi64x(0, (int64_t)bytes));
#else
  return (VecI)_mm_cvtepu8_epi32(_mm_cvtsi32_si128((int32_t)bytes));
#endif
}
MILLRACE_INLINE VecI widen_signed_bytes(const uint8_t* p) {
  return (widen_bytes(p) << 24) >> 24;
}

// float_of_e4m3() of a vector.
MILLRACE_INLINE VecF e4m3(const uint8_t* p) {
  const VecI bits = widen_bytes(p), magnitude = bits & 0x7F;
  const VecF subnormal = __builtin_convertvector(magnitude, VecF) * 0x1p-9f;
  const VecF normal = (VecF)((magnitude << 20) + (120 << 23));
  const VecF value = magnitude < 8 ? subnormal : (magnitude == 0x7F ? (VecF)(VecI{} + 0x7FC00000) : normal);
  return (VecF)((VecI)value | ((bits & 0x80) << 24));
}

template <typename T>
MILLRACE_INLINE void store_one(T* p, float x) {
  store(p, splat(x), Partial{1});
}

template <typename T>
void fp8_row(const QuantisedMatrix& matrix, int64_t row, int64_t column, int64_t columns, T* out) {
  const uint8_t* codes = matrix.codes + row * matrix.columns + column;
  const float scale = matrix.row_scales ? matrix.row_scales[row] : 1.0f;
  int64_t i = 0;
  for (; i + kLanes <= columns; i += kLanes) store(out + i, e4m3(codes + i) * scale, Full{});
  for (; i < columns; ++i) store_one(out + i, float_of_e4m3(codes[i]) * scale);
}

template <typename T>
void int8_row(const QuantisedMatrix& matrix, int64_t row, int64_t column, int64_t columns, T* out) {
  const uint8_t* codes = matrix.codes + row * matrix.columns + column;
  const float scale = matrix.row_scales[row];
  int64_t i = 0;
  for (; i + kLanes <= columns; i += kLanes) {
    store(out + i, __builtin_convertvector(widen_signed_bytes(codes + i), VecF) * scale, Full{});
  }
  for (; i < columns; ++i) store_one(out + i, static_cast<float>(static_cast<int8_t>(codes[i])) * scale);
}

// A table of 16 floats in registers.
struct Table {
#if defined(MILLRACE_ISA_v4)
  VecF all;
  MILLRACE_INLINE explicit Table(const float* t, float scale) : all(load(t, Full{}) * scale) {}
  MILLRACE_INLINE VecF at(VecI index) const {
    return (VecF)_mm512_maskz_permutexvar_ps(0xFFFF, (__m512i)index, (__m512)all);
  }
#elif defined(MILLRACE_ISA_v3)
  VecF low, high;
  MILLRACE_INLINE explicit Table(const float* t, float scale)
      : low(load(t, Full{}) * scale), high(load(t + 8, Full{}) * scale) {}
  MILLRACE_INLINE VecF at(VecI index) const {
    const __m256i lanes = (__m256i)index;
    return (VecF)_mm256_blendv_ps(_mm256_permutevar8x32_ps((__m256)low, lanes),
                                  _mm256_permutevar8x32_ps((__m256)high, lanes), (__m256)(index << 28));
  }
#else
  float all[16];
  MILLRACE_INLINE explicit Table(const float* t, float scale) {
    for (int i = 0; i < 16; ++i) all[i] = t[i] * scale;
  }
  MILLRACE_INLINE VecF at(VecI index) const {
    return VecF{all[index[0]], all[index[1]], all[index[2]], all[index[3]]};
  }
#endif
};

// kLanes indices from kLanes / 2 bytes: each byte twice, its high half first.
MILLRACE_INLINE VecI nf4_indices(const uint8_t* p) {
#if defined(MILLRACE_ISA_v4)
  const __m128i bytes = _mm_loadl_epi64((const __m128i*)p);
#elif defined(MILLRACE_ISA_v3)
  int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  const __m128i bytes = _mm_cvtsi32_si128(four);
#else
  const __m128i bytes = _mm_cvtsi32_si128(p[0] | p[1] << 8);
#endif
  const __m128i twice = _mm_unpacklo_epi8(_mm_srli_epi16(bytes, 4), bytes);
  uint8_t nibbles[16];
  _mm_storeu_si128((__m128i*)nibbles, _mm_and_si128(twice, _mm_set1_epi8(15)));
  return widen_bytes(nibbles);
}

template <typename T>
void nf4_row(const QuantisedMatrix& matrix, int64_t row, int64_t column, int64_t columns, T* out) {
  const int64_t first = row * matrix.columns + column, last = first + columns;
  for (int64_t begin = first; begin < last;) {
    const int64_t block = begin / kNf4Block, block_end = (block + 1) * kNf4Block;
    const int64_t end = block_end < last ? block_end : last;
    const float scale = nf4_scale(matrix.nf4_scales, block);
    const Table table(matrix.nf4_table, scale);
    int64_t i = begin;
    if (i & 1) {
      store_one(out + (i - first), matrix.nf4_table[nf4_index(matrix.codes, i)] * scale);
      ++i;
    }
    for (; i + kLanes <= end; i += kLanes)
      store(out + (i - first), table.at(nf4_indices(matrix.codes + i / 2)), Full{});
    for (; i < end; ++i) store_one(out + (i - first), matrix.nf4_table[nf4_index(matrix.codes, i)] * scale);
    begin = end;
  }
}

// Each block into memory that nothing else points to, or the compiler would read codes again after every store.
template <typename Blocks, typename T>
void block_row(const QuantisedMatrix& matrix, int64_t row, int64_t column, int64_t columns, T* out) {
  const uint8_t* block =
      matrix.codes + (row * (matrix.columns / Blocks::kElements) + column / Blocks::kElements) * Blocks::kBytes;
  for (int64_t i = 0; i < columns; i += Blocks::kElements, block += Blocks::kBytes) {
    float values[Blocks::kElements];
    decode_block<Blocks>(block, values);
    for (int j = 0; j < Blocks::kElements; j += kLanes) store(out + i + j, load(values + j, Full{}), Full{});
  }
}

template <typename T>
void rows(const DequantiseArgs& args, int64_t begin, int64_t end) {
  const QuantisedMatrix& matrix = args.matrix;
  for (int64_t i = begin; i < end; ++i) {
    T* out = static_cast<T*>(args.out) + i * args.out_stride;
    const int64_t row = args.row_begin + i;
    switch (matrix.kind) {
      case QuantisedKind::kFp8:
        fp8_row(matrix, row, args.column_begin, args.columns, out);
        break;
      case QuantisedKind::kInt8:
        int8_row(matrix, row, args.column_begin, args.columns, out);
        break;
      case QuantisedKind::kNf4:
        nf4_row(matrix, row, args.column_begin, args.columns, out);
        break;
      case QuantisedKind::kBlocks:
        with_blocks(matrix.format, [&](auto blocks) {
          block_row<decltype(blocks)>(matrix, row, args.column_begin, args.columns, out);
        });
        break;
    }
  }
}

}  // namespace

extern const DequantiseKernels MILLRACE_ISA_NAME(dequantise_kernels) = {{rows<float>, rows<BF16>}};

}  // namespace millrace
