// A quantised matrix of weights as tensors, and tiles of it as numbers.
#pragma once

#include <torch/types.h>

#include "kernels/quantised/quantised_raw.h"

namespace millrace {

// Kinds and layouts: quantised_raw.h. All tensors lie on one device.
struct QuantisedTensor {
  QuantisedKind kind = QuantisedKind::kFp8;
  BlockFormat format = BlockFormat::kNone;
  int64_t rows = 0, columns = 0;
  torch::Tensor codes;       // uint8, 1-D
  torch::Tensor row_scales;  // fp32 [N]; undefined for nf4 and blocks, and for fp8 without scales
  // Of nf4:
  torch::Tensor nf4_table;                   // fp32 [16]
  torch::Tensor scale_codes;                 // uint8, one per kNf4Block elements
  torch::Tensor scale_table, scale_factors;  // fp32 [256]; fp32, one per kNf4ScaleBlock codes
  torch::Tensor scale_offset;                // fp32 [1]
  bool divide_scales = false, round_scales_to_bf16 = false;

  int64_t bytes() const;  // of all tensors
  QuantisedTensor to(torch::Device device) const;
};

// How many bytes the codes of such a matrix have.
int64_t code_bytes(QuantisedKind kind, BlockFormat format, int64_t rows, int64_t columns);

// out_RC (fp32 or bf16, rows contiguous) = rows [row_begin, row_begin + R) and columns [column_begin, column_begin +
// C). Of GGUF's blocks, columns are whole blocks. The same bits on every CPU and GPU.
void dequantise(const QuantisedTensor& matrix, int64_t row_begin, int64_t column_begin, const torch::Tensor& out_RC);
// The same, element by element.
void dequantise_reference(const QuantisedTensor& matrix, int64_t row_begin, int64_t column_begin,
                          const torch::Tensor& out_RC);

// out = x: float8_e4m3fn on a CPU, as files have it, to as many numbers in fp32 or bf16 on any device; both contiguous.
// torch's copy takes ten nanoseconds for each of them.
void widen_e4m3(const torch::Tensor& x, const torch::Tensor& out);

}  // namespace millrace
