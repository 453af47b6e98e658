#include "optim/ema.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace millrace {
namespace {

// Exchanges the contents of two fp32 buffers with little memory beside them.
void swap_contents(const torch::Tensor& a, const torch::Tensor& b) {
  constexpr int64_t kChunk = 1 << 22;
  for (int64_t begin = 0; begin < a.numel(); begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, a.numel());
    const torch::Tensor a_part = a.slice(0, begin, end), b_part = b.slice(0, begin, end);
    const torch::Tensor kept = a_part.clone();
    a_part.copy_(b_part);
    b_part.copy_(kept);
  }
}

}  // namespace

double ema_decay_at(double decay, int64_t step) {
  return std::min(decay, static_cast<double>(1 + step) / static_cast<double>(10 + step));
}

UseAveragedWeights::UseAveragedWeights(std::vector<FlatGroup> groups, std::vector<torch::Tensor> averages)
    : groups_(std::move(groups)), averages_(std::move(averages)), saved_(groups_.size()) {
  MILLRACE_CHECK(averages_.size() == groups_.size());
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const FlatGroup& group = groups_[i];
    if (group.model_copy.defined()) {
      group.model_copy.copy_(averages_[i]);
    } else if (group.master.scalar_type() == torch::kFloat32) {
      swap_contents(group.master, averages_[i]);
    } else {
      saved_[i] = group.master.clone();
      group.master.copy_(averages_[i]);
    }
  }
}

UseAveragedWeights::~UseAveragedWeights() {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const FlatGroup& group = groups_[i];
    if (group.model_copy.defined()) {
      group.model_copy.copy_(group.master);
    } else if (saved_[i].defined()) {
      group.master.copy_(saved_[i]);
    } else {
      swap_contents(group.master, averages_[i]);
    }
  }
}

}  // namespace millrace
