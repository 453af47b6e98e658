// Rows of a tensor by number.
#pragma once

#include <torch/types.h>

#include <vector>

namespace millrace {

// x[index], a new tensor. Also on the meta device, for which libtorch's index_select is not made.
inline torch::Tensor select_rows(const torch::Tensor& x, const torch::Tensor& index) {
  if (!x.is_meta()) return x.index_select(0, index);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.front() = index.size(0);
  return torch::empty(shape, x.options());
}

}  // namespace millrace
