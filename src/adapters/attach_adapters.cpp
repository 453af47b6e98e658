#include "adapters/attach_adapters.h"

#include "adapters/dora.h"
#include "adapters/lora.h"
#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

class Attacher {
 public:
  Attacher(Linear& layer, const AdapterTensors& adapter, const std::string& place)
      : layer_(layer), adapter_(adapter), place_(place + ": " + adapter.module) {}

  std::vector<AdapterParameter> attach() {
    if (layer_.adapter() != nullptr) throw ModelError("[" + place_ + "] expected one adapter for a layer, got two");
    if (adapter_.row_begin != 0 || (adapter_.row_end != -1 && adapter_.row_end != layer_.out_features())) {
      throw ModelError("[" + place_ + "] expected an adapter of all outputs of the layer, got one of outputs " +
                       std::to_string(adapter_.row_begin) + " to " + std::to_string(adapter_.row_end));
    }
    if (adapter_.kind != AdapterKind::kLora && adapter_.kind != AdapterKind::kDora) {
      throw ModelError("[" + place_ + "] expected LoRA or DoRA, got another kind of adapter");
    }
    const FileTensor &down = tensor("down"), &up = tensor("up");
    const int64_t rank = down.values.dim() == 2 ? down.values.size(0) : 0;
    const bool is_dora = adapter_.kind == AdapterKind::kDora;
    if (is_dora) {
      const auto dora = std::make_shared<Dora>(layer_.weight(), rank, adapter_.scale);
      add_both(*dora, down, up);
      add(tensor("magnitude"), dora->magnitude_N);
      layer_.set_adapter(dora);
    } else {
      const auto lora = std::make_shared<Lora>(layer_.in_features(), layer_.out_features(), rank, adapter_.scale);
      add_both(*lora, down, up);
      layer_.set_adapter(lora);
    }
    return std::move(parameters_);
  }

 private:
  const FileTensor& tensor(const std::string& role) const {
    const auto found = adapter_.tensors.find(role);
    if (found == adapter_.tensors.end()) {
      throw ModelError("[" + place_ + "] expected a tensor for its part '" + role + "', got none");
    }
    return found->second;
  }

  void add_both(const Lora& lora, const FileTensor& down, const FileTensor& up) {
    add(down, lora.down_RK);
    add(up, lora.up_NR);
  }

  void add(const FileTensor& tensor, const torch::Tensor& parameter) {
    if (tensor.values.sizes() != parameter.sizes() || parameter.numel() == 0 || !tensor.values.is_floating_point()) {
      throw ModelError("[" + place_ + ": " + tensor.name + "] expected floating point " + c10::str(parameter.sizes()) +
                       ", got " + c10::toString(tensor.values.scalar_type()) + " " + c10::str(tensor.values.sizes()));
    }
    parameters_.push_back({tensor.name, parameter, tensor.values});
  }

  Linear& layer_;
  const AdapterTensors& adapter_;
  const std::string place_;
  std::vector<AdapterParameter> parameters_;
};

}  // namespace

std::vector<AdapterParameter> attach_adapters(const LinearLayers& layers, const std::vector<AdapterTensors>& adapters,
                                              const std::string& place) {
  std::vector<AdapterParameter> parameters;
  for (const AdapterTensors& adapter : adapters) {
    const auto found = layers.find(adapter.module);
    if (found == layers.end()) {
      std::vector<std::string> names;
      for (const auto& [name, layer] : layers) names.push_back(name);
      const std::string near = nearest(adapter.module, names);
      throw ModelError("[" + place + "] expected adapters of the model's linear layers, got one of " + adapter.module +
                       (near.empty() ? "" : " (is " + near + " meant?)"));
    }
    for (AdapterParameter& parameter : Attacher(*found->second, adapter, place).attach()) {
      parameters.push_back(std::move(parameter));
    }
  }
  return parameters;
}

}  // namespace millrace
