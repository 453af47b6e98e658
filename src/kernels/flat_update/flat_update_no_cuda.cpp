#include "kernels/flat_update/flat_update_raw.h"
#include "kernels/no_cuda.h"

namespace millrace {

int64_t flat_update_partials_size(int64_t) {
  fail_no_cuda("flat_update");
}

void flat_update_cuda(int, const FlatUpdateArgs&, double*, double*, void*) {
  fail_no_cuda("flat_update");
}

}  // namespace millrace
