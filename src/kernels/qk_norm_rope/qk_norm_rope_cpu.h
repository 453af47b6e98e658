// qk_norm_rope on CPU tensors; arguments are checked by qk_norm_rope.cpp.
#pragma once

#include "kernels/qk_norm_rope/qk_norm_rope_raw.h"
#include "kernels/tensor_args.h"

namespace millrace {

// args' float rows are fp32; backward leaves its sums in dq_scale, dk_scale and dbias (overwritten).
void qk_norm_rope_forward_cpu(const QkNormRopeForwardArgs& args);
void qk_norm_rope_backward_cpu(const QkNormRopeBackwardArgs& args);

}  // namespace millrace
