#include "kernels/quantised/dequantise.h"

#include <ATen/Parallel.h>

#include "base/error.h"
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

void widen_e4m3(const torch::Tensor& x, const torch::Tensor& out) {
  MILLRACE_CHECK(x.scalar_type() == torch::kFloat8_e4m3fn && x.is_contiguous() && out.is_contiguous() &&
                 x.numel() == out.numel());
  constexpr int64_t kColumns = 4096;  // threads share rows
  const torch::Tensor codes = x.view(torch::kUInt8).view({-1}).to(out.device()), flat = out.view({-1});
  const int64_t whole = codes.numel() / kColumns * kColumns;
  const auto widen = [&](int64_t first, int64_t rows, int64_t columns) {
    if (rows * columns == 0) return;
    QuantisedTensor part{.kind = QuantisedKind::kFp8, .rows = rows, .columns = columns};
    part.codes = codes.narrow(0, first, rows * columns);
    dequantise(part, 0, 0, flat.narrow(0, first, rows * columns).view({rows, columns}));
  };
  widen(0, whole / kColumns, kColumns);
  widen(whole, 1, codes.numel() - whole);
}

}  // namespace millrace
