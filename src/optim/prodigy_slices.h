// Every n-th element of each parameter, for estimates of a step size as Prodigy's: their starting points p0 and their
// s.
#pragma once

#include <vector>

#include "optim/flat_group.h"
#include "optim/optimizer_state.h"

namespace millrace {

class ProdigySlices {
 public:
  struct Slice {
    ParameterRange range;
    int64_t first = 0;  // index of its first element that takes part
    torch::Tensor s, p0;
  };

  // Throws ConfigError for groups that hold boxes of matrices. dtype: of p0 and s.
  ProdigySlices(const std::vector<FlatGroup>& groups, int64_t slice_p, torch::Dtype dtype = torch::kFloat32);

  void restart();  // s = 0, p0 = p
  std::vector<StateTensor> state() const;

  const std::vector<Slice>& of(size_t group) const { return slices_[group]; }
  // Its elements of a buffer of the group: a view.
  torch::Tensor sliced(const torch::Tensor& flat, const Slice& slice) const;

  // Prodigy's sums: s = beta3 * s + grad_share * g with g = clip * grad + weight_decay * p; adds <g, p0 - p> and |s| to
  // sums_3.
  void gather(size_t group, double beta3, double grad_share, double weight_decay, const torch::Tensor& coefficient_1,
              const torch::Tensor& sums_3) const;

 private:
  std::vector<FlatGroup> groups_;
  int64_t slice_p_;
  std::vector<std::vector<Slice>> slices_;  // [group]
};

}  // namespace millrace
