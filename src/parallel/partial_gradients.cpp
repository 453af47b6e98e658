#include "parallel/partial_gradients.h"

#include <utility>

#include "parallel/tensor_share.h"

namespace millrace {

PartialGradients::PartialGradients(Group* tp, std::vector<torch::Tensor> parameters) : tp_(tp) {
  if (!tp) return;
  int64_t size = 0;
  for (torch::Tensor& parameter : parameters) {
    if (!parameter.grad().defined()) continue;
    size += parameter.numel();
    gradients_.push_back(parameter.grad());
    parameters_.push_back(std::move(parameter));
  }
  if (size == 0) return;
  shares_ = torch::zeros({size}, gradients_.front().options());
  int64_t begin = 0;
  for (torch::Tensor& parameter : parameters_) {
    parameter.mutable_grad() = shares_.narrow(0, begin, parameter.numel()).view(parameter.sizes());
    begin += parameter.numel();
  }
}

void PartialGradients::finish() {
  if (!shares_.defined()) return;
  tp_->all_reduce(shares_).wait();
  for (size_t i = 0; i < parameters_.size(); ++i) {
    gradients_[i].add_(parameters_[i].grad());
    parameters_[i].mutable_grad() = gradients_[i];
  }
}

torch::Tensor whole_of_parts(Group* tp, const TensorPart& part, const torch::Tensor& own) {
  if (!tp || part.is_whole()) return own;
  const torch::Tensor whole = torch::zeros(part.global_shape(own.sizes().vec()), own.options());
  int64_t begin = 0, own_begin = 0;
  for (const int64_t group : part.split.groups) {
    const int64_t dim = part.split.dim;
    const TensorShare share = share_of(part, group);
    whole.narrow(dim, begin + share.begin, share.size).copy_(own.narrow(dim, own_begin, share.size));
    begin += group;
    own_begin += share.size;
  }
  tp->all_reduce(whole).wait();
  return whole;
}

}  // namespace millrace
