#include "kernels/no_cuda.h"
#include "kernels/rotary/rotary_raw.h"

namespace millrace {

void rotary_cuda(const RotaryArgs&, void*) {
  fail_no_cuda("rotary");
}

}  // namespace millrace
