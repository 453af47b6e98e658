// Checks of what libtorch computes for us on a device, in the manner of kernels/self_check.h: attention, products,
// convolutions and sums by token, for `millrace verify`.
#pragma once

#include <vector>

#include "kernels/self_check.h"

namespace millrace {

// fp32 and bf16: attention forward and backward, of FLUX and within the documents of a packed batch, whose repetition
// must give the same bits, as must the gradient of an embedding; products of both orientations, with and without
// accumulation, whole and cut (nn/gemm.h). fp32: a convolution, which must not be TF32.
std::vector<KernelCheck> layer_checks();

}  // namespace millrace
