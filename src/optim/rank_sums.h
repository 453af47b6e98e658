// Sums over the ranks that share the parameters, for rules that need numbers of the whole model.
#pragma once

#include <functional>
#include <utility>

#include <torch/types.h>

#include "comm/group.h"

namespace millrace {

class Mesh;

// The ranks that hold the other parts of this rank's groups; copies (dp_replicate) are not among them.
class RankSums {
 public:
  RankSums() = default;  // one rank
  explicit RankSums(Mesh& mesh);
  // reduce: sums, or takes the maximum of, the values of all ranks, in place.
  explicit RankSums(std::function<void(const torch::Tensor&, Reduce)> reduce) : reduce_(std::move(reduce)) {}

  bool is_alone() const { return !reduce_; }
  // In place, with the same bits on every rank; collective. x: contiguous, float32 or float64.
  void add(const torch::Tensor& x) const {
    if (reduce_) reduce_(x, Reduce::kSum);
  }
  void take_largest(const torch::Tensor& x) const {
    if (reduce_) reduce_(x, Reduce::kMax);
  }

 private:
  std::function<void(const torch::Tensor&, Reduce)> reduce_;
};

}  // namespace millrace
