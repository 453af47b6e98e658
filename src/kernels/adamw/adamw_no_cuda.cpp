#include "kernels/adamw/adamw_raw.h"
#include "kernels/no_cuda.h"

namespace millrace {

void adamw_cuda(const AdamWArgs&, void*) {
  fail_no_cuda("adamw");
}

}  // namespace millrace
