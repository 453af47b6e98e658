#include "kernels/global_norm/global_norm.h"

#include <limits>

#include "kernels/global_norm/global_norm_cpu.h"
#include "kernels/global_norm/global_norm_raw.h"
#include "kernels/tensor_args.h"

namespace millrace {

using torch::Tensor;

void add_sum_of_squares(const Tensor& x, const Tensor& sum_1) {
  MILLRACE_CHECK(x.is_contiguous() && sum_1.numel() == 1 && sum_1.scalar_type() == torch::kFloat64);
  MILLRACE_CHECK(sum_1.device() == x.device());
  if (nothing_to_compute(x)) return;
  if (on_cuda(x)) {
    const DeviceScope scope(x);
    const Tensor partials = torch::empty({sum_of_squares_partials_size(x.numel())}, x.options().dtype(torch::kFloat64));
    add_sum_of_squares_cuda(element_type(x), x.data_ptr(), x.numel(), partials.data_ptr<double>(),
                            sum_1.data_ptr<double>(), cuda_stream(x));
  } else {
    *sum_1.data_ptr<double>() += sum_of_squares_cpu(element_type(x), x.data_ptr(), x.numel());
  }
}

void clip_coefficient(const Tensor& sum_1, double max_norm, const Tensor& norm_1, const Tensor& coefficient_1) {
  const torch::NoGradGuard no_grad;
  const Tensor norm = sum_1.sqrt();
  norm_1.copy_(norm.view(norm_1.sizes()));
  if (max_norm <= 0) {
    coefficient_1.fill_(1);
    return;
  }
  coefficient_1.copy_((max_norm / (norm + 1e-6)).clamp_max(1.0).view(coefficient_1.sizes()));
}

int64_t first_nonfinite(const Tensor& x) {
  MILLRACE_CHECK(x.is_contiguous());
  if (nothing_to_compute(x)) return -1;
  if (!on_cuda(x)) return first_nonfinite_cpu(element_type(x), x.data_ptr(), x.numel());
  const DeviceScope scope(x);
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  const Tensor index = torch::full({1}, kNone, x.options().dtype(torch::kInt64));
  first_nonfinite_cuda(element_type(x), x.data_ptr(), x.numel(), index.data_ptr<int64_t>(), cuda_stream(x));
  const int64_t found = index.item<int64_t>();
  return found == kNone ? -1 : found;
}

}  // namespace millrace
