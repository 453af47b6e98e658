#include "nn/linear_weight.h"

#include "nn/gemm.h"
#include "nn/unplaced.h"

namespace millrace {

DenseWeight::DenseWeight(int64_t in_features, int64_t out_features)
    : weight_NK_(unplaced_parameter({out_features, in_features})) {}

void DenseWeight::forward(torch::Tensor& out_MN, const torch::Tensor& x_MK) const {
  gemm(out_MN, x_MK, weight_NK_.t());
}

void DenseWeight::backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, bool accumulate) const {
  gemm(dx_MK, dy_MN, weight_NK_, accumulate);
}

void DenseWeight::backward_weight(const torch::Tensor& dy_MN, const torch::Tensor& x_MK) {
  torch::Tensor dweight_NK = weight_NK_.grad();
  if (dweight_NK.defined()) gemm(dweight_NK, dy_MN.t(), x_MK, /*accumulate=*/true);
}

}  // namespace millrace
