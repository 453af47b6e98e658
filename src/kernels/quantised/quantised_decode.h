// One element of a quantised matrix, once for CPUs and GPUs. Included by files that are compiled without contraction
// into fma; see base/block_decode.h.
#pragma once

#include "base/block_decode.h"
#include "kernels/quantised/quantised_raw.h"

namespace millrace {
namespace {

// To nearest, ties to even, of finite numbers.
MILLRACE_DECODE float rounded_to_bf16(float x) {
  const auto word = __builtin_bit_cast(uint32_t, x);
  return float_of_bits((word + 0x7FFFu + (word >> 16 & 1u)) & 0xFFFF0000u);
}

// The scale of a block. block: its number in the whole matrix.
MILLRACE_DECODE float nf4_scale(const Nf4Scales& scales, int64_t block) {
  const float code = scales.table[scales.codes[block]], factor = scales.factors[block / kNf4ScaleBlock];
  float scale = scales.divide ? code / factor : code * factor;
  if (scales.round_to_bf16) scale = rounded_to_bf16(scale);
  scale += *scales.offset;
  return scales.round_to_bf16 ? rounded_to_bf16(scale) : scale;
}

MILLRACE_DECODE int nf4_index(const uint8_t* codes, int64_t element) {
  return codes[element >> 1] >> (element & 1 ? 0 : 4) & 15;
}

// Calls run with the struct that decodes blocks of this format (base/block_decode.h).
template <typename Run>
[[maybe_unused]] static inline void with_blocks(BlockFormat format, Run run) {
  switch (format) {
    case BlockFormat::kNone:
      return;
    case BlockFormat::kQ4_0:
      return run(BlocksQ4_0{});
    case BlockFormat::kQ4_1:
      return run(BlocksQ4_1{});
    case BlockFormat::kQ5_0:
      return run(BlocksQ5_0{});
    case BlockFormat::kQ5_1:
      return run(BlocksQ5_1{});
    case BlockFormat::kQ8_0:
      return run(BlocksQ8_0{});
    case BlockFormat::kQ4_K:
      return run(BlocksQ4_K{});
    case BlockFormat::kQ5_K:
      return run(BlocksQ5_K{});
    case BlockFormat::kQ6_K:
      return run(BlocksQ6_K{});
  }
}

}  // namespace
}  // namespace millrace
