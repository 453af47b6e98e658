#include "adapters/dora.h"

#include "base/error.h"
#include "nn/gemm.h"
#include "nn/unplaced.h"

namespace millrace {
namespace {

// |W_n|^2 in fp32. A weight that is not one matrix gives its columns a few at a time, as products with unit vectors.
torch::Tensor squared_row_norms(const LinearWeight& weight, const torch::TensorOptions& options) {
  if (const torch::Tensor dense_NK = weight.dense(); dense_NK.defined()) {
    return at::linalg_vector_norm(dense_NK, 2, at::IntArrayRef{1}, false, torch::kFloat32).square();
  }
  constexpr int64_t kColumns = 256;
  torch::Tensor squares_N = torch::zeros({weight.out_features()}, options.dtype(torch::kFloat32));
  for (int64_t begin = 0; begin < weight.in_features(); begin += kColumns) {
    const int64_t count = std::min(kColumns, weight.in_features() - begin);
    torch::Tensor units_CK = torch::zeros({count, weight.in_features()}, options);
    units_CK.diagonal(begin).fill_(1);
    torch::Tensor columns_CN = torch::empty({count, weight.out_features()}, options);
    weight.forward(columns_CN, units_CK);
    squares_N.add_(columns_CN.to(torch::kFloat32).square().sum(0));
  }
  return squares_N;
}

// The square roots of sums over the ranks.
torch::Tensor roots_of_sums(torch::Tensor squares_N, Group* ranks) {
  if (ranks) ranks->all_reduce(squares_N).wait();
  return squares_N.clamp_min_(0).sqrt_();
}

}  // namespace

Dora::Dora(const LinearWeight& weight, int64_t rank, double scale, Group* inputs)
    : Dora(weight, 0, weight.out_features(), rank, scale, inputs) {}

Dora::Dora(const LinearWeight& weight, int64_t row_begin, int64_t rows, int64_t rank, double scale, Group* inputs)
    : Lora(weight.in_features(), rows, rank, scale),
      magnitude_N(register_parameter("magnitude", unplaced_parameter({rows}), false)),
      weight_(weight),
      row_begin_(row_begin),
      inputs_(inputs) {
  MILLRACE_CHECK(row_begin >= 0 && row_begin + rows <= weight.out_features());
}

torch::Tensor Dora::own_product(const torch::Tensor& x_MK) const {
  torch::Tensor product = torch::empty({x_MK.size(0), weight_.out_features()}, x_MK.options());
  weight_.forward(product, x_MK);
  return product.narrow(1, row_begin_, magnitude_N.size(0));
}

torch::Tensor row_norms_of(const LinearWeight& weight, const torch::TensorOptions& options, Group* inputs) {
  const torch::NoGradGuard no_grad;
  return roots_of_sums(squared_row_norms(weight, options), inputs);
}

torch::Tensor Dora::row_norms() const {
  const torch::NoGradGuard no_grad;
  const torch::Tensor products_RN = own_product(down_RK);
  const torch::Tensor down = down_RK.to(torch::kFloat32), up = up_NR.to(torch::kFloat32);
  const torch::Tensor crossed_N = (up * products_RN.t().to(torch::kFloat32)).sum(1);
  const torch::Tensor own_N = (up * at::mm(up, at::mm(down, down.t()))).sum(1);
  const torch::Tensor squares_N =
      squared_row_norms(weight_, down_RK.options()).narrow(0, row_begin_, magnitude_N.size(0));
  return roots_of_sums(squares_N + 2 * scale() * crossed_N + scale() * scale() * own_N, inputs_);
}

void Dora::complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const {
  if (strength() == 0) return;
  // With a strength between, the way from the layer's own product to the adapted one.
  const torch::Tensor own_MN = strength() == 1 ? torch::Tensor() : out_MN.clone();
  Lora::complete_forward(out_MN, x_MK, pass);
  norm_N_ = row_norms();
  factor_N_ = magnitude_N.to(torch::kFloat32) / norm_N_;
  out_MN.mul_(factor_N_);
  if (own_MN.defined()) out_MN.sub_(own_MN).mul_(strength()).add_(own_MN);
}

torch::Tensor Dora::base_gradient(const torch::Tensor& dy_MN) const {
  if (strength() == 0) return dy_MN;
  MILLRACE_CHECK(factor_N_.defined() && strength() == 1);
  return dy_MN.clone(torch::MemoryFormat::Contiguous).mul_(factor_N_);
}

void Dora::add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const {
  Lora::add_input_gradient(dx_MK, base_gradient(dy_MN), pass);
}

void Dora::add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) {
  if (strength() == 0) return;
  Lora::add_gradients(base_gradient(dy_MN), x_MK, pass);
  torch::Tensor dmagnitude_N = magnitude_N.grad();
  if (!dmagnitude_N.defined()) return;
  torch::Tensor product_MN = own_product(x_MK);
  Lora::complete_forward(product_MN, x_MK, pass);
  const torch::Tensor sums_N = (product_MN.to(torch::kFloat32) * dy_MN.to(torch::kFloat32)).sum(0);
  dmagnitude_N.add_((sums_N / norm_N_).to(dmagnitude_N.scalar_type()));
}

}  // namespace millrace
