// rms_norm on CPU tensors; arguments are checked by rms_norm.cpp.
#pragma once

#include "kernels/rms_norm/rms_norm_raw.h"
#include "kernels/tensor_args.h"

namespace millrace {

// args' float rows are fp32; backward leaves its sum in the fp32 row dweight (overwritten).
void rms_norm_forward_cpu(const RmsNormForwardArgs& args);
void rms_norm_backward_cpu(const RmsNormBackwardArgs& args);

}  // namespace millrace
