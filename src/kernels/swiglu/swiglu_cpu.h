// swiglu on CPU tensors; arguments are checked by swiglu.cpp.
#pragma once

#include "kernels/swiglu/swiglu_raw.h"
#include "kernels/tensor_args.h"

namespace millrace {

void swiglu_forward_cpu(const SwigluForwardArgs& args);
void swiglu_backward_cpu(const SwigluBackwardArgs& args);

}  // namespace millrace
