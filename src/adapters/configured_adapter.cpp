#include "adapters/configured_adapter.h"

#include "adapters/dora.h"
#include "adapters/loha.h"
#include "adapters/lokr.h"
#include "adapters/lora.h"
#include "adapters/read_adapters.h"
#include "base/error.h"

namespace millrace {
namespace {

// LyCORIS takes a scale of 1 for a Kronecker product of whole matrices, which has no rank.
std::shared_ptr<ModuleAdapter> make_lokr(const LoraConfig& config, const Linear& layer, int64_t rank, double scale) {
  const LokrSizes sizes =
      lokr_sizes(layer.in_features(), layer.out_features(), rank, config.lokr_factor, config.lokr_decompose_both);
  return std::make_shared<Lokr>(sizes.w1, sizes.w2, sizes.w1.rank + sizes.w2.rank > 0 ? scale : 1);
}

}  // namespace

std::shared_ptr<ModuleAdapter> make_configured_adapter(const LoraConfig& config, const Linear& layer, int64_t rank,
                                                       double scale, Group* inputs) {
  MILLRACE_CHECK(rank >= 1);
  switch (config.kind) {
    case AdapterKind::kLora:
      return std::make_shared<Lora>(layer.in_features(), layer.out_features(), rank, scale);
    case AdapterKind::kDora:
      return std::make_shared<Dora>(layer.weight(), rank, scale, inputs);
    case AdapterKind::kLoha:
      return std::make_shared<Loha>(layer.in_features(), layer.out_features(), rank, scale);
    case AdapterKind::kLokr:
      return make_lokr(config, layer, rank, scale);
  }
  throw LogicError("an adapter of no kind");
}

std::vector<AdapterTensors> configured_adapters(const LoraConfig& config, const TensorMap& ours) {
  std::map<std::string, AdapterTensors> by_layer;
  for (const auto& [name, values] : ours) {
    AdapterTensors& adapter = by_layer[layer_of(name)];
    adapter.tensors[role_of(name)] = {name, values};
  }
  const LoraScales scales(config);
  std::vector<AdapterTensors> adapters;
  for (auto& [layer, adapter] : by_layer) {
    adapter.module = layer;
    adapter.kind = config.kind;
    const int64_t rank = sizes_of(adapter).rank;
    adapter.scale = rank > 0 ? scales.of(layer, rank) : 1;
    adapters.push_back(std::move(adapter));
  }
  return adapters;
}

bool is_without_effect(const AdapterTensors& adapter) {
  for (const char* role : {"up", "w2_a", "w2_b", "w2"}) {
    const auto found = adapter.tensors.find(role);
    if (found != adapter.tensors.end() && !found->second.values.any().item<bool>()) return true;
  }
  return false;
}

BaseStorage base_storage_of(const LoraConfig& config) {
  return config.base_dtype == "auto" ? BaseStorage::kDense : parse_base_storage(config.base_dtype);
}

std::string role_of(const std::string& ours) {
  return ours.substr(ours.rfind('.') + 1);
}

std::string layer_of(const std::string& ours) {
  return ours.substr(0, ours.rfind('.'));
}

}  // namespace millrace
