#include "kernels/tensor_args.h"

namespace millrace {

bool nothing_to_compute(const torch::Tensor& x) {
  return x.numel() == 0 || x.is_meta();
}

void* data_of(const torch::Tensor& x) {
  return x.is_meta() ? nullptr : x.data_ptr();
}

ElementType element_type(const torch::Tensor& x) {
  if (x.scalar_type() == torch::kFloat32) return ElementType::kF32;
  MILLRACE_CHECK(x.scalar_type() == torch::kBFloat16);
  return ElementType::kBF16;
}

RowsShape rows_shape(const torch::Tensor& x_BLD) {
  MILLRACE_CHECK(x_BLD.dim() == 2 || x_BLD.dim() == 3);
  return {x_BLD.dim() == 3 ? x_BLD.size(0) : 1, x_BLD.size(-2), x_BLD.size(-1)};
}

Rows rows_of(const torch::Tensor& x_BLD) {
  MILLRACE_CHECK(x_BLD.dim() == 2 || x_BLD.dim() == 3);
  MILLRACE_CHECK(x_BLD.stride(-1) == 1 || x_BLD.size(-1) <= 1);
  return {data_of(x_BLD), x_BLD.dim() == 3 ? x_BLD.stride(0) : 0, x_BLD.stride(-2)};
}

void check_rows(const torch::Tensor& x_BLD, const RowsShape& shape, const torch::Tensor& like) {
  MILLRACE_CHECK(rows_shape(x_BLD) == shape);
  MILLRACE_CHECK(x_BLD.scalar_type() == like.scalar_type());
  MILLRACE_CHECK(x_BLD.device() == like.device());
}

void check_buffer(const torch::Tensor& x, const torch::Tensor& like) {
  MILLRACE_CHECK(x.dim() == 1 && x.is_contiguous() && x.numel() == like.numel() && x.device() == like.device());
}

FloatRows float_rows_of(const torch::Tensor& x, int64_t batch, int64_t dim, const torch::Tensor& like) {
  if (!x.defined()) return {};
  MILLRACE_CHECK(x.device() == like.device());
  MILLRACE_CHECK(x.dim() == (batch == 0 ? 1 : 2));
  MILLRACE_CHECK(x.size(-1) == dim && (batch == 0 || x.size(0) == batch));
  MILLRACE_CHECK(x.stride(-1) == 1 || dim <= 1);
  return {data_of(x), batch == 0 ? 0 : x.stride(0), element_type(x)};
}

std::optional<torch::Tensor> if_defined(const torch::Tensor& x) {
  return x.defined() ? std::optional<torch::Tensor>(x) : std::nullopt;
}

float* stats_of(const torch::Tensor& x, int64_t count, const torch::Tensor& like) {
  if (!x.defined()) return nullptr;
  MILLRACE_CHECK(x.device() == like.device());
  MILLRACE_CHECK(x.scalar_type() == torch::kFloat32 && x.is_contiguous() && x.numel() == count);
  return static_cast<float*>(data_of(x));
}

void sum_partials(const float* partials, int64_t count, int64_t stride, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = 0;
  for (int64_t c = 0; c < count; ++c) {
    const float* row = partials + c * stride;
    for (int64_t i = 0; i < n; ++i) out[i] += row[i];
  }
}

}  // namespace millrace
