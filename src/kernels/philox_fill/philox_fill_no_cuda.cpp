#include "kernels/no_cuda.h"
#include "kernels/philox_fill/philox_fill_raw.h"

namespace millrace {

void philox_fill_cuda(RandomKind, ElementType, const RandomStream*, int64_t, int64_t, int64_t, uint64_t, void*, void*) {
  fail_no_cuda("philox_fill");
}

}  // namespace millrace
