#include "kernels/gate_residual/gate_residual_raw.h"
#include "kernels/no_cuda.h"

namespace millrace {

void gate_residual_forward_cuda(const GateResidualForwardArgs&, bool, void*) {
  fail_no_cuda("gate_residual");
}

int64_t gate_residual_partials_size(const GateResidualBackwardArgs&, bool) {
  fail_no_cuda("gate_residual");
}
void gate_residual_backward_cuda(const GateResidualBackwardArgs&, bool, float*, void*) {
  fail_no_cuda("gate_residual");
}

}  // namespace millrace
