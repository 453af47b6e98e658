#include "kernels/gelu/gelu_raw.h"
#include "kernels/no_cuda.h"

namespace millrace {

void gelu_forward_cuda(const GeluForwardArgs&, void*) {
  fail_no_cuda("gelu");
}
int64_t gelu_partials_size(const GeluBackwardArgs&) {
  fail_no_cuda("gelu");
}
void gelu_backward_cuda(const GeluBackwardArgs&, float*, void*) {
  fail_no_cuda("gelu");
}

}  // namespace millrace
