#include "kernels/no_cuda.h"
#include "kernels/quantised/quantised_raw.h"

namespace millrace {

void dequantise_cuda(const DequantiseArgs&, void*) {
  fail_no_cuda("quantised");
}

}  // namespace millrace
