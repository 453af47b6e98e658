// A small layer for the tests of adapters.
#pragma once

#include <torch/types.h>

namespace millrace {

constexpr int64_t kRows = 9, kIn = 12, kOut = 10, kRank = 3;
constexpr double kScale = 0.5;

inline double relative_error(const torch::Tensor& got, const torch::Tensor& expected) {
  return (got.to(torch::kFloat64) - expected.to(torch::kFloat64)).norm().item<double>() /
         expected.to(torch::kFloat64).norm().item<double>();
}

}  // namespace millrace
