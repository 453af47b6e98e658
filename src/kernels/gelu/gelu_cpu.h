// gelu on CPU tensors; arguments are checked by gelu.cpp.
#pragma once

#include "kernels/gelu/gelu_raw.h"
#include "kernels/tensor_args.h"

namespace millrace {

// args' float rows are fp32; backward leaves its sum in the fp32 row dbias (overwritten).
void gelu_forward_cpu(const GeluForwardArgs& args);
void gelu_backward_cpu(const GeluBackwardArgs& args);

}  // namespace millrace
