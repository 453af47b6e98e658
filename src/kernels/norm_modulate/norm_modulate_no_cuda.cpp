#include "kernels/no_cuda.h"
#include "kernels/norm_modulate/norm_modulate_raw.h"

namespace millrace {

void norm_modulate_forward_cuda(const NormModulateForwardArgs&, void*) {
  fail_no_cuda("norm_modulate");
}
int64_t norm_modulate_partials_size(const NormModulateBackwardArgs&) {
  fail_no_cuda("norm_modulate");
}
void norm_modulate_backward_cuda(const NormModulateBackwardArgs&, float*, void*) {
  fail_no_cuda("norm_modulate");
}

}  // namespace millrace
