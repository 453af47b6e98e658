#include "parallel/partial_gradients.h"

#include <algorithm>
#include <iterator>

#include "parallel/tensor_share.h"

namespace millrace {

namespace {

std::vector<torch::Tensor> trained_of(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> trained;
  std::ranges::copy_if(parameters, std::back_inserter(trained), [](const auto& x) { return x.grad().defined(); });
  return trained;
}

std::vector<torch::Tensor> gradients_of(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> gradients;
  for (const torch::Tensor& parameter : parameters) gradients.push_back(parameter.grad());
  return gradients;
}

torch::ScalarType dtype_of(const std::vector<torch::Tensor>& gradients) {
  return gradients.empty() ? torch::kFloat32 : gradients.front().scalar_type();
}

}  // namespace

PartialGradients::PartialGradients(Group* tp, const std::vector<torch::Tensor>& parameters)
    : parameters_(trained_of(parameters)),
      gradients_(gradients_of(parameters_)),
      shares_(tp, gradients_, dtype_of(gradients_)) {
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].mutable_grad() = shares_.target(i);
}

void PartialGradients::finish() {
  shares_.finish();
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].mutable_grad() = gradients_[i];
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
