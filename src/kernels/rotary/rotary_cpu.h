// rotary on CPU tensors; arguments are checked by rotary.cpp.
#pragma once

#include "kernels/rotary/rotary_raw.h"
#include "kernels/tensor_args.h"

namespace millrace {

void rotary_cpu(const RotaryArgs& args);

}  // namespace millrace
