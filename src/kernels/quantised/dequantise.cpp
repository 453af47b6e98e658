#include "kernels/quantised/dequantise.h"

#include <ATen/Parallel.h>

#include "kernels/cpu_level.h"
#include "kernels/quantised/quantised_args.h"

namespace millrace {

void dequantise(const QuantisedTensor& matrix, int64_t row_begin, int64_t column_begin, const torch::Tensor& out_RC) {
  const DequantiseArgs args = dequantise_args(matrix, row_begin, column_begin, out_RC);
  if (nothing_to_compute(out_RC)) return;
  if (on_cuda(out_RC)) {
    const DeviceScope scope(out_RC);
    dequantise_cuda(args, cuda_stream(out_RC));
    return;
  }
  const auto kernel = MILLRACE_SELECT_KERNELS(dequantise_kernels).rows[static_cast<int>(args.type)];
  at::parallel_for(0, args.rows, rows_per_thread(args.columns),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

}  // namespace millrace
