#include "adapters/merge_adapter.h"

#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/log.h"
#include "kernels/quantised/quantise_raw.h"

namespace millrace {
namespace {

torch::Tensor tensor_of(const AdapterTensors& adapter, const std::string& role) {
  return in_model_order(adapter.tensors.at(role)).to(torch::kFloat32);
}

// A matrix of a Kronecker product, whole or as a product of two.
torch::Tensor factor_of(const AdapterTensors& adapter, const std::string& role) {
  if (adapter.tensors.count(role)) return tensor_of(adapter, role);
  return at::matmul(tensor_of(adapter, role + "_a"), tensor_of(adapter, role + "_b"));
}

}  // namespace

torch::Tensor weight_change(const AdapterTensors& adapter) {
  switch (adapter.kind) {
    case AdapterKind::kLora:
    case AdapterKind::kDora:
      return at::matmul(tensor_of(adapter, "up"), tensor_of(adapter, "down")).mul_(adapter.scale);
    case AdapterKind::kLoha:
      return (factor_of(adapter, "w1") * factor_of(adapter, "w2")).mul_(adapter.scale);
    case AdapterKind::kLokr:
      return at::kron(factor_of(adapter, "w1"), factor_of(adapter, "w2")).mul_(adapter.scale);
  }
  throw LogicError("an adapter of no kind");
}

void merge_adapter(torch::Tensor& weight_NK, const AdapterTensors& adapter, double strength) {
  const int64_t row_end = adapter.row_end < 0 ? weight_NK.size(0) : adapter.row_end;
  const AdapterSizes sizes = sizes_of(adapter);
  if (row_end > weight_NK.size(0) || sizes.out_features != row_end - adapter.row_begin ||
      sizes.in_features != weight_NK.size(1)) {
    throw ModelError(str("[", adapter.tensors.begin()->second.name, "] expected an adapter for ",
                         row_end - adapter.row_begin, " of the outputs of ", adapter.module, " and ", weight_NK.size(1),
                         " inputs, got one of ", sizes.out_features, " and ", sizes.in_features));
  }
  torch::Tensor rows = weight_NK.narrow(0, adapter.row_begin, row_end - adapter.row_begin);
  const torch::Tensor change = weight_change(adapter);
  if (adapter.kind != AdapterKind::kDora) {
    rows.add_(change, strength);
    return;
  }
  const torch::Tensor sum = rows + change, magnitude = tensor_of(adapter, "magnitude").reshape({-1, 1});
  rows.add_(sum * (magnitude / at::linalg_vector_norm(sum, 2, {1}, /*keepdim=*/true)) - rows, strength);
}

void AdapterMerger::add(std::vector<AdapterTensors> adapters, double strength) {
  for (AdapterTensors& adapter : adapters) {
    of_weight_[adapter.module + ".weight"].push_back({std::move(adapter), strength});
  }
}

std::map<std::string, std::string> AdapterMerger::weights() const {
  std::map<std::string, std::string> names;
  for (const auto& [name, adapters] : of_weight_) names[name] = adapters.front().tensors.tensors.begin()->second.name;
  return names;
}

torch::Tensor AdapterMerger::merged(const std::string& name, const torch::Tensor& weight) const {
  const auto found = of_weight_.find(name);
  if (found == of_weight_.end()) return weight;
  torch::Tensor sum = weight.to(torch::kFloat32, /*non_blocking=*/false, /*copy=*/true);
  for (const Adapter& adapter : found->second) merge_adapter(sum, adapter.tensors, adapter.strength);
  // Torch makes what is beyond float8_e4m3fn's largest number not a number.
  if (weight.scalar_type() == torch::kFloat8_e4m3fn) sum.clamp_(-kLargestE4m3, kLargestE4m3);
  return sum.to(weight.scalar_type());
}

}  // namespace millrace
