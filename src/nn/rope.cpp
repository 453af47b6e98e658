#include "nn/rope.h"

#include "base/error.h"

namespace millrace {
namespace {

torch::Tensor inverse_frequencies(int64_t axis_dim, double theta, torch::Device device) {
  const auto options = torch::TensorOptions().dtype(torch::kFloat64).device(device);
  return torch::pow(theta, -torch::arange(0, axis_dim, 2, options) / static_cast<double>(axis_dim));
}

}  // namespace

RopeTable rope_table(const torch::Tensor& ids_BLA, const std::vector<int64_t>& axes_dim, double theta) {
  const torch::NoGradGuard no_grad;
  MILLRACE_CHECK(ids_BLA.dim() == 3 && ids_BLA.size(2) == static_cast<int64_t>(axes_dim.size()));
  const int64_t batch = ids_BLA.size(0);
  // On the meta device there is nothing to compare: one picture size, as in training.
  const bool shared =
      batch == 1 || ids_BLA.is_meta() || at::equal(ids_BLA, ids_BLA.select(0, 0).unsqueeze(0).expand_as(ids_BLA));
  const torch::Tensor ids_RA = (shared ? ids_BLA.select(0, 0) : ids_BLA.flatten(0, 1)).to(torch::kFloat64);
  std::vector<torch::Tensor> angles;
  for (size_t a = 0; a < axes_dim.size(); ++a) {
    angles.push_back(at::outer(ids_RA.select(1, a), inverse_frequencies(axes_dim[a], theta, ids_BLA.device())));
  }
  torch::Tensor angles_LP = at::cat(angles, 1);
  if (!shared) angles_LP = angles_LP.unflatten(0, {batch, ids_BLA.size(1)});
  return {at::cos(angles_LP).to(torch::kFloat32).contiguous(), at::sin(angles_LP).to(torch::kFloat32).contiguous()};
}

RopeTable RopeTable::rows(int64_t begin, int64_t tokens) const {
  return {cos_LP.narrow(-2, begin, tokens).contiguous(), sin_LP.narrow(-2, begin, tokens).contiguous()};
}

torch::Tensor rope_ids_gradient(const torch::Tensor& dangle_BLP, const std::vector<int64_t>& axes_dim, double theta) {
  std::vector<torch::Tensor> dids;
  int64_t begin = 0;
  for (const int64_t axis_dim : axes_dim) {
    const torch::Tensor slice = dangle_BLP.narrow(2, begin, axis_dim / 2).to(torch::kFloat64);
    dids.push_back(at::matmul(slice, inverse_frequencies(axis_dim, theta, dangle_BLP.device())));
    begin += axis_dim / 2;
  }
  return at::stack(dids, 2).to(torch::kFloat32);
}

}  // namespace millrace
