#include "adapters/as_lora.h"

#include "adapters/adapter_rows.h"
#include "adapters/read_adapters.h"

namespace millrace {
namespace {

struct ThinPair {
  torch::Tensor left, right;

  int64_t rank() const { return right.size(0); }
};

torch::Tensor wide_values(const AdapterTensors& adapter, const std::string& role) {
  return adapter.tensors.at(role).values.to(torch::kFloat32);
}

// A whole matrix is itself times the identity, on its shorter side.
ThinPair thin_pair(const AdapterTensors& adapter, const std::string& factor) {
  if (!adapter.tensors.count(factor)) {
    return {wide_values(adapter, factor + "_a"), wide_values(adapter, factor + "_b")};
  }
  const torch::Tensor whole = wide_values(adapter, factor);
  const bool is_tall = whole.size(0) >= whole.size(1);
  const torch::Tensor identity = torch::eye(is_tall ? whole.size(1) : whole.size(0), whole.options());
  return is_tall ? ThinPair{whole, identity} : ThinPair{identity, whole};
}

// [N, R] and [N, S]: every product of two columns, [N, R S].
torch::Tensor column_products(const torch::Tensor& a_NR, const torch::Tensor& b_NS) {
  return (a_NR.unsqueeze(2) * b_NS.unsqueeze(1)).reshape({a_NR.size(0), -1});
}

ThinPair low_rank_form(const AdapterTensors& adapter, const ThinPair& w1, const ThinPair& w2) {
  if (adapter.kind == AdapterKind::kLokr) return {at::kron(w1.left, w2.left), at::kron(w1.right, w2.right)};
  return {column_products(w1.left, w2.left), column_products(w1.right.t(), w2.right.t()).t().contiguous()};
}

}  // namespace

void make_factor_whole(AdapterTensors& lokr, const std::string& factor) {
  if (lokr.tensors.count(factor)) return;
  const torch::Tensor product = at::mm(wide_values(lokr, factor + "_a"), wide_values(lokr, factor + "_b"));
  lokr.tensors[factor] = {lokr.tensors.at(factor + "_a").name, product};
  lokr.tensors.erase(factor + "_a");
  lokr.tensors.erase(factor + "_b");
}

std::optional<AdapterTensors> as_lora(const AdapterTensors& adapter) {
  if (adapter.kind == AdapterKind::kLora) return adapter;
  if (adapter.kind == AdapterKind::kDora) return std::nullopt;
  const AdapterTensors ordered = with_rows_in_order(adapter);
  const ThinPair w1 = thin_pair(ordered, "w1"), w2 = thin_pair(ordered, "w2");
  const AdapterSizes sizes = sizes_of(ordered);
  const int64_t rank = w1.rank() * w2.rank();
  if (rank * (sizes.out_features + sizes.in_features) >= sizes.out_features * sizes.in_features) return std::nullopt;
  const ThinPair pair = low_rank_form(ordered, w1, w2);
  AdapterTensors lora = ordered;
  lora.kind = AdapterKind::kLora;
  const std::string name = ordered.tensors.begin()->second.name;
  lora.tensors = {{"down", {name, pair.right}}, {"up", {name, pair.left}}};
  return lora;
}

}  // namespace millrace
