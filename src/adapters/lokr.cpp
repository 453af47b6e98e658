#include "adapters/lokr.h"

#include "nn/gemm.h"
#include "nn/unplaced.h"

namespace millrace {

Lokr::Lokr(const Factor& w1, const Factor& w2, double scale)
    : ModuleAdapter("Lokr"),
      w1_sizes_(w1),
      w2_sizes_(w2),
      w1_(make_matrix("w1", w1)),
      w2_(make_matrix("w2", w2)),
      scale_(scale) {}

Lokr::Matrix Lokr::make_matrix(const std::string& name, const Factor& factor) {
  const auto parameter = [&](const std::string& own, int64_t rows, int64_t columns) {
    return register_parameter(own, unplaced_parameter({rows, columns}), /*requires_grad=*/false);
  };
  Matrix matrix;
  if (factor.rank == 0) {
    matrix.whole = parameter(name, factor.rows, factor.columns);
  } else {
    matrix.a = parameter(name + "_a", factor.rows, factor.rank);
    matrix.b = parameter(name + "_b", factor.rank, factor.columns);
  }
  return matrix;
}

torch::Tensor Lokr::Matrix::value() const {
  return whole.defined() ? whole : matrix_product(a, b);
}

bool Lokr::Matrix::is_trained() const {
  return (whole.defined() ? whole : a).grad().defined();
}

void Lokr::Matrix::add_gradient(const torch::Tensor& gradient) {
  if (whole.defined()) {
    whole.mutable_grad().add_(gradient);
    return;
  }
  gemm(a.mutable_grad(), gradient, b.t(), /*accumulate=*/true);
  gemm(b.mutable_grad(), a.t(), gradient, /*accumulate=*/true);
}

torch::Tensor Lokr::through_w2(const torch::Tensor& x_MK) const {
  const torch::Tensor pieces = x_MK.reshape({-1, w2_sizes_.columns});  // [M B, Q]
  return matrix_product(pieces, w2_.value().t()).view({x_MK.size(0), w1_sizes_.columns, w2_sizes_.rows});
}

torch::Tensor Lokr::gradient_before_w1(const torch::Tensor& dy_MN) const {
  const torch::Tensor dy = dy_MN.reshape({dy_MN.size(0), w1_sizes_.rows, w2_sizes_.rows});  // [M, A, P]
  return at::matmul(w1_.value().t(), dy).mul_(scale());
}

void Lokr::complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass&) const {
  if (strength() == 0) return;
  out_MN.add_(at::matmul(w1_.value(), through_w2(x_MK)).view({x_MK.size(0), -1}), scale());
}

void Lokr::add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass&) const {
  if (strength() == 0) return;
  const torch::Tensor dpieces = gradient_before_w1(dy_MN).view({-1, w2_sizes_.rows});  // [M B, P]
  dx_MK.add_(matrix_product(dpieces, w2_.value()).view(dx_MK.sizes()));
}

void Lokr::add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass&) {
  if (strength() == 0) return;
  if (w1_.is_trained()) {
    // The sum over rows and w2's outputs, with both of them as one dimension.
    const auto as_matrix = [](const torch::Tensor& t) { return t.transpose(0, 1).reshape({t.size(1), -1}); };
    const torch::Tensor dy = dy_MN.reshape({dy_MN.size(0), w1_sizes_.rows, w2_sizes_.rows});
    w1_.add_gradient(matrix_product(as_matrix(dy), as_matrix(through_w2(x_MK)).t()).mul_(scale()));
  }
  if (w2_.is_trained()) {
    const torch::Tensor dpieces = gradient_before_w1(dy_MN).view({-1, w2_sizes_.rows});
    w2_.add_gradient(matrix_product(dpieces.t(), x_MK.reshape({-1, w2_sizes_.columns})));
  }
}

}  // namespace millrace
