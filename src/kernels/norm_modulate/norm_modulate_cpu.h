// norm_modulate on CPU tensors; arguments are checked by norm_modulate.cpp.
#pragma once

#include "kernels/norm_modulate/norm_modulate_raw.h"
#include "kernels/tensor_args.h"

namespace millrace {

// args' float rows are fp32; backward leaves its sums in the fp32 rows args.dshift and args.dscale.
void norm_modulate_forward_cpu(const NormModulateForwardArgs& args);
void norm_modulate_backward_cpu(const NormModulateBackwardArgs& args);

}  // namespace millrace
