// Weights in fewer bits: plain functions on spans. The layouts are those of quantised_raw.h.
//
// Sizes are checked; weights that are not finite throw a ModelError that says where (of the span's first element 0).
#pragma once

#include <cstdint>
#include <span>

#include "kernels/quantised/quantised_raw.h"

namespace millrace {

// Each number by itself, as sd-scripts' fp8_base has it: float8_e4m3fn, to nearest, ties to even; above 464, and what
// is not finite, becomes NaN: torch's cast, bit for bit.
void quantise_fp8_unscaled(std::span<const float> weights, std::span<uint8_t> codes);
// Rows of so many columns, each scaled so that its largest magnitude is 448.
void quantise_fp8(std::span<const float> weights, int64_t columns, std::span<uint8_t> codes,
                  std::span<float> row_scales);
// The same for -127 to 127.
void quantise_int8(std::span<const float> weights, int64_t columns, std::span<uint8_t> codes,
                   std::span<float> row_scales);

// Sixteen values that cut a normal distribution into equal parts (Dettmers et al. 2023, "QLoRA", appendix E), as two
// libraries have them.
enum class Nf4Style {
  kBitsandbytes,  // in full; the nearest value by their middles
  kTorchao,       // in four digits, rounded to the weights' type, which also rounds every step
};
std::span<const float> nf4_table(Nf4Style style, bool bf16);

// weights: blocks of kNf4Block, the last one perhaps shorter, from the first element of a matrix or of a block that is
// even in number. codes: two a byte; absmax: the largest magnitude of each block. bf16: weights are bf16's numbers,
// which matters to torchao alone. A block of zeros stays zeros.
void quantise_nf4(std::span<const float> weights, Nf4Style style, bool bf16, std::span<uint8_t> codes,
                  std::span<float> absmax);

// The scales of NF4's blocks in 8 bits: their difference from the mean, in groups of kNf4ScaleBlock.
struct Nf4ScaleCodes {
  std::span<uint8_t> codes;
  std::span<float> factors;  // one per group
  float offset = 0;          // the mean
};
// table: for bitsandbytes, its signed dynamic map (code_values() of kernels/adamw8bit); torchao has none.
void quantise_nf4_scales(std::span<const float> absmax, Nf4Style style, bool bf16, std::span<const float> table,
                         Nf4ScaleCodes& out);

}  // namespace millrace
