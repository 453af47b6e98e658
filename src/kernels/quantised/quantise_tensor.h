// A matrix of weights in fewer bits.
#pragma once

#include "kernels/quantised/dequantise.h"

namespace millrace {

enum class QuantisedAs {
  kFp8,          // e4m3, a scale per row
  kFp8Unscaled,  // e4m3 as sd-scripts casts
  kInt8,         // a scale per row
  kNf4,          // bitsandbytes, double quantisation
  kNf4Torchao,   // torchao, double quantisation
};

// weight_NK: on a CPU, in any floating type (torchao's rounding follows whether it is bf16), of any strides; it is
// read in pieces, so that no second copy of it is made. Throws ModelError for weights that are not finite, except
// unscaled fp8.
QuantisedTensor quantise(const torch::Tensor& weight_NK, QuantisedAs as);
// What quantise() makes of weights [rows, columns] of that dtype, with tensors that have no values yet; on the meta
// device, sizes alone.
QuantisedTensor unfilled(int64_t rows, int64_t columns, torch::Dtype dtype, QuantisedAs as,
                         torch::Device device = torch::kCPU);

}  // namespace millrace
