// How far a result is from the exact one, for tests.
#pragma once

#include <torch/types.h>

namespace millrace {

// ||got - exact|| / ||exact||, in fp64.
inline double relative_error(const torch::Tensor& got, const torch::Tensor& exact) {
  const torch::Tensor difference = got.to(torch::kFloat64) - exact.to(torch::kFloat64);
  return (difference.norm() / (exact.to(torch::kFloat64).norm() + 1e-30)).item<double>();
}

}  // namespace millrace
