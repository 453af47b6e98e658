#include "diffusion/initial_adapters.h"

#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/log.h"
#include "models/flux/lora_export.h"
#include "models/flux/lora_names.h"

namespace millrace {
namespace {

// The matrix that the scale can go into.
const char* scaled_role(const AdapterTensors& adapter) {
  switch (adapter.kind) {
    case AdapterKind::kLora:
    case AdapterKind::kDora:
      return "up";
    case AdapterKind::kLoha:
      return "w1_a";
    case AdapterKind::kLokr:
      break;
  }
  return adapter.tensors.contains("w2") ? "w2" : "w2_b";
}

}  // namespace

std::map<std::string, TensorMap> initial_adapters(const std::filesystem::path& file, const LoraConfig& config,
                                                  const flux::FluxConfig& sizes) {
  const std::vector<AdapterTensors> in_file =
      flux::transformer_adapters(read_adapters(WeightStore(file)), sizes, file.string());
  std::map<std::string, TensorMap> layers;
  for (const AdapterTensors& adapter : flux::whole_adapters(in_file, sizes)) {
    if (adapter.kind != config.kind) {
      throw ModelError(str("[", file.string(), ": ", adapter.tensors.begin()->second.name,
                           "] expected an adapter of kind ", choice_text(config.kind), ", as lora.kind says, got ",
                           choice_text(adapter.kind)));
    }
    const int64_t rank = sizes_of(adapter).rank;
    const double factor = adapter.scale / (rank > 0 ? scale_of_rank(config, rank) : 1);
    TensorMap& values = layers[adapter.module];
    for (const auto& [role, tensor] : adapter.tensors) {
      values[role] = in_model_order(tensor).to(torch::kFloat32);
      if (role == "magnitude") values[role] = values[role].reshape({-1});
    }
    torch::Tensor& scaled = values.at(scaled_role(adapter));
    if (factor != 1) scaled = scaled * factor;
  }
  return layers;
}

}  // namespace millrace
