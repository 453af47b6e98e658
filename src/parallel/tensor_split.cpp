#include "parallel/tensor_split.h"

#include "base/error.h"
#include "parallel/tensor_share.h"

namespace millrace {
namespace {

int64_t sum(const std::vector<int64_t>& sizes) {
  int64_t total = 0;
  for (const int64_t size : sizes) total += size;
  return total;
}

}  // namespace

std::vector<int64_t> TensorPart::shape(std::vector<int64_t> global_shape) const {
  if (is_whole()) return global_shape;
  int64_t& size = global_shape.at(static_cast<size_t>(split.dim));
  MILLRACE_CHECK(size == sum(split.groups));
  size = 0;
  for (const int64_t group : split.groups) size += share_of(*this, group).size;
  return global_shape;
}

std::vector<int64_t> TensorPart::global_shape(std::vector<int64_t> part_shape) const {
  if (!is_whole()) part_shape.at(static_cast<size_t>(split.dim)) = sum(split.groups);
  return part_shape;
}

torch::Tensor TensorPart::of(const torch::Tensor& whole) const {
  if (is_whole()) return whole;
  std::vector<torch::Tensor> shares;
  int64_t begin = 0;
  for (const int64_t group : split.groups) {
    const TensorShare share = share_of(*this, group);
    shares.push_back(whole.narrow(split.dim, begin + share.begin, share.size));
    begin += group;
  }
  return shares.size() == 1 ? shares.front() : at::cat(shares, split.dim);
}

}  // namespace millrace
