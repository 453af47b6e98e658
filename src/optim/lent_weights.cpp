#include "optim/lent_weights.h"

#include <algorithm>
#include <utility>

namespace millrace {

LentWeights::LentWeights(std::vector<FlatGroup> groups, const Make& make)
    : groups_(std::move(groups)), masters_(groups_.size()) {
  const torch::NoGradGuard no_grad;
  constexpr int64_t kChunk = 1 << 22;  // elements: little memory beside the buffers
  for (size_t i = 0; i < groups_.size(); ++i) {
    const FlatGroup& group = groups_[i];
    const torch::Tensor& target = group.model_copy.defined() ? group.model_copy : group.master;
    if (!group.model_copy.defined()) masters_[i] = group.master.clone();
    for (int64_t begin = 0; begin < target.numel(); begin += kChunk) {
      const int64_t end = std::min(begin + kChunk, target.numel());
      target.slice(0, begin, end).copy_(make(i, begin, end));
    }
  }
}

LentWeights::~LentWeights() {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (masters_[i].defined()) {
      groups_[i].master.copy_(masters_[i]);
    } else {
      groups_[i].model_copy.copy_(groups_[i].master);
    }
  }
}

}  // namespace millrace
