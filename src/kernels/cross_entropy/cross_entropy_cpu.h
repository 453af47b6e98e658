// cross_entropy on CPU tensors; arguments are checked by cross_entropy.cpp.
#pragma once

#include "kernels/cross_entropy/cross_entropy_raw.h"
#include "kernels/tensor_args.h"

namespace millrace {

void cross_entropy_cpu(const CrossEntropyArgs& args);

}  // namespace millrace
