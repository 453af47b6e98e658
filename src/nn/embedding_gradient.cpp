#include "nn/embedding_gradient.h"

#include <ATen/ops/_unique2.h>

#include "nn/deterministic_scope.h"

namespace millrace {

void add_embedding_gradient(torch::Tensor dweight_VD, const torch::Tensor& ids_T, const torch::Tensor& dx_TD) {
  const torch::NoGradGuard no_grad;
  const DeterministicScope deterministic;
  if (ids_T.is_meta()) {  // a planned model: as much memory as tokens that all differ take
    const torch::Tensor sums_TD = torch::empty_like(dx_TD, torch::kFloat32);
    return;
  }
  const auto [tokens_U, index_T, counts] =
      at::_unique2(ids_T, /*sorted=*/true, /*return_inverse=*/true, /*return_counts=*/false);
  torch::Tensor sums_UD = torch::zeros({tokens_U.size(0), dx_TD.size(1)}, dx_TD.options().dtype(torch::kFloat32));
  sums_UD.index_add_(0, index_T, dx_TD.to(torch::kFloat32));
  dweight_VD.index_add_(0, tokens_U, sums_UD.to(dweight_VD.scalar_type()));
}

}  // namespace millrace
