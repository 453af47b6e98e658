// gate_residual on CPU tensors; arguments are checked by gate_residual.cpp.
#pragma once

#include "kernels/gate_residual/gate_residual_raw.h"
#include "kernels/tensor_args.h"

namespace millrace {

// args' float rows are fp32; the backward passes leave their sums in the fp32 rows dgate, dbias (overwritten), and,
// with the norm, dshift and dscale.
void gate_residual_forward_cpu(const GateResidualForwardArgs& args, bool with_norm);
void gate_residual_backward_cpu(const GateResidualBackwardArgs& args);
void gate_residual_norm_backward_cpu(const GateResidualBackwardArgs& args);

}  // namespace millrace
