// Quantised matrices from files, and numbers as a quantised file would give them.
#pragma once

#include <torch/types.h>

#include "formats/safetensors.h"
#include "kernels/quantised/dequantise.h"

namespace millrace {

// The bytes of a GGUF tensor's blocks, copied, with rows of interleaved heads put in order.
QuantisedTensor blocks_of(const TensorView& view);

// Every number rounded to float8_e4m3fn and back, in fp32.
torch::Tensor rounded_to_fp8(const torch::Tensor& x);

}  // namespace millrace
