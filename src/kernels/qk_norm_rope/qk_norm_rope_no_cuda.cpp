#include "kernels/no_cuda.h"
#include "kernels/qk_norm_rope/qk_norm_rope_raw.h"

namespace millrace {

void qk_norm_rope_forward_cuda(const QkNormRopeForwardArgs&, void*) {
  fail_no_cuda("qk_norm_rope");
}
int64_t qk_norm_rope_partials_size(const QkNormRopeBackwardArgs&) {
  fail_no_cuda("qk_norm_rope");
}
void qk_norm_rope_backward_cuda(const QkNormRopeBackwardArgs&, float*, void*) {
  fail_no_cuda("qk_norm_rope");
}

}  // namespace millrace
