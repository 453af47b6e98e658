#include "kernels/adamw8bit/adamw8bit_raw.h"
#include "kernels/no_cuda.h"

namespace millrace {

void adamw8bit_cuda(QuantizedPass, const AdamW8bitArgs&, int64_t, void*) {
  fail_no_cuda("adamw8bit");
}

}  // namespace millrace
