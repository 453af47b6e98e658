#include "kernels/no_cuda.h"
#include "kernels/swiglu/swiglu_raw.h"

namespace millrace {

void swiglu_forward_cuda(const SwigluForwardArgs&, void*) {
  fail_no_cuda("swiglu");
}
void swiglu_backward_cuda(const SwigluBackwardArgs&, void*) {
  fail_no_cuda("swiglu");
}

}  // namespace millrace
