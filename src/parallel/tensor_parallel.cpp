#include "parallel/tensor_parallel.h"

namespace millrace {

Work sum_over_tp(Group* tp, const torch::Tensor& x) {
  return tp ? tp->all_reduce(x) : Work();
}

SharedGradients::SharedGradients(Group* tp, std::vector<torch::Tensor> gradients, torch::ScalarType dtype)
    : tp_(tp), gradients_(std::move(gradients)), targets_(gradients_) {
  if (!tp_) return;
  int64_t size = 0;
  for (const torch::Tensor& gradient : gradients_) size += gradient.defined() ? gradient.numel() : 0;
  if (size == 0) return;
  int64_t begin = 0;
  for (torch::Tensor& target : targets_) {
    if (!target.defined()) continue;
    if (!shares_.defined()) shares_ = torch::zeros({size}, target.options().dtype(dtype));
    target = shares_.narrow(0, begin, target.numel()).view(target.sizes());
    begin += target.numel();
  }
}

void SharedGradients::finish() {
  if (!shares_.defined()) return;
  tp_->all_reduce(shares_).wait();
  for (size_t i = 0; i < gradients_.size(); ++i) {
    if (gradients_[i].defined()) gradients_[i].add_(targets_[i]);
  }
}

}  // namespace millrace
