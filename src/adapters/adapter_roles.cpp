#include "adapters/adapter_roles.h"

namespace millrace {

std::vector<ThinProduct> thin_products(AdapterKind kind) {
  if (kind == AdapterKind::kLoha) return {{"w1_a", "w1_b"}, {"w2_a", "w2_b"}};
  return {{"up", "down"}};
}

std::vector<std::string> output_roles(AdapterKind kind) {
  if (kind == AdapterKind::kLoha) return {"w1_a", "w2_a"};
  if (kind == AdapterKind::kDora) return {"up", "magnitude"};
  return {"up"};
}

std::string factor_row_role(const AdapterTensors& lokr, const std::string& factor) {
  return lokr.tensors.count(factor) ? factor : factor + "_a";
}

int64_t factor_rows(const AdapterTensors& lokr, const std::string& factor) {
  return values_of(lokr, factor_row_role(lokr, factor)).size(0);
}

torch::Tensor& values_of(AdapterTensors& adapter, const std::string& role) {
  return adapter.tensors.at(role).values;
}

const torch::Tensor& values_of(const AdapterTensors& adapter, const std::string& role) {
  return adapter.tensors.at(role).values;
}

torch::Tensor times(const torch::Tensor& tensor, double factor) {
  return factor == 1 ? tensor : (tensor.to(torch::kFloat32) * factor).to(tensor.scalar_type());
}

}  // namespace millrace
