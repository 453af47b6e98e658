#include "adapters/attach_adapters.h"

#include "adapters/dora.h"
#include "adapters/loha.h"
#include "adapters/lokr.h"
#include "adapters/lora.h"
#include "adapters/read_adapters.h"
#include "adapters/row_adapters.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

Lokr::Factor factor_sizes(const AdapterTensors& tensors, const std::string& role) {
  const auto sizes = [&](const std::string& name) { return tensors.tensors.at(name).values.sizes(); };
  if (tensors.tensors.count(role)) return {sizes(role)[0], sizes(role)[1], 0};
  return {sizes(role + "_a")[0], sizes(role + "_b")[1], sizes(role + "_a")[1]};
}

// Its parameters are named as the roles in a file.
std::shared_ptr<ModuleAdapter> make_adapter(const AdapterTensors& tensors, const AdapterSizes& sizes,
                                            const Linear& layer) {
  switch (tensors.kind) {
    case AdapterKind::kLora:
      return std::make_shared<Lora>(sizes.in_features, sizes.out_features, sizes.rank, tensors.scale);
    case AdapterKind::kLoha:
      return std::make_shared<Loha>(sizes.in_features, sizes.out_features, sizes.rank, tensors.scale);
    case AdapterKind::kLokr:
      return std::make_shared<Lokr>(factor_sizes(tensors, "w1"), factor_sizes(tensors, "w2"), tensors.scale);
    case AdapterKind::kDora:
      break;
  }
  return std::make_shared<Dora>(layer.weight(), tensors.row_begin, sizes.out_features, sizes.rank, tensors.scale);
}

Linear& find_layer(const LinearLayers& layers, const AdapterTensors& adapter, const std::string& place) {
  const auto found = layers.find(adapter.module);
  if (found != layers.end()) return *found->second;
  std::vector<std::string> names;
  for (const auto& [name, layer] : layers) names.push_back(name);
  const std::string near = nearest(adapter.module, names);
  throw ModelError("[" + place + ": " + adapter.tensors.begin()->second.name +
                   "] expected adapters of the model's linear layers, got one of " + adapter.module +
                   (near.empty() ? "" : " (is " + near + " meant?)"));
}

}  // namespace

std::vector<AdapterParameter> attach_adapters(const LinearLayers& layers, const std::vector<AdapterTensors>& adapters,
                                              const std::string& place) {
  std::vector<AdapterParameter> parameters;
  std::map<std::string, std::vector<RowAdapters::Part>> parts_of;
  for (const AdapterTensors& adapter : adapters) {
    Linear& layer = find_layer(layers, adapter, place);
    const std::string& name = adapter.tensors.begin()->second.name;
    if (layer.adapter() != nullptr) {
      throw ModelError("[" + place + ": " + name + "] expected a layer without an adapter, got " + adapter.module);
    }
    const int64_t row_end = adapter.row_end < 0 ? layer.out_features() : adapter.row_end;
    const int64_t rows = row_end - adapter.row_begin;
    const AdapterSizes sizes = sizes_of(adapter);
    if (row_end > layer.out_features() || sizes.out_features != rows || sizes.in_features != layer.in_features()) {
      throw ModelError(str("[", place, ": ", name, "] expected an adapter of ", layer.in_features(), " inputs and ",
                           rows, " outputs for ", adapter.module, ", got ", sizes.in_features, " and ",
                           sizes.out_features));
    }
    const std::shared_ptr<ModuleAdapter> made = make_adapter(adapter, sizes, layer);
    parts_of[adapter.module].push_back({adapter.row_begin, rows, made});
    for (const auto& own : made->named_parameters()) {
      parameters.push_back({adapter.tensors.at(own.key()), own.value()});
    }
  }
  for (auto& [name, parts] : parts_of) {
    Linear& layer = *layers.at(name);
    const bool is_whole = parts.size() == 1 && parts[0].size == layer.out_features();
    layer.set_adapter(is_whole ? parts[0].adapter : std::make_shared<RowAdapters>(std::move(parts)));
  }
  return parameters;
}

}  // namespace millrace
