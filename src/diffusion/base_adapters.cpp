#include "diffusion/base_adapters.h"

#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "formats/weight_fingerprint.h"
#include "models/flux/lora_names.h"
#include "models/lora_text_names.h"

namespace millrace {

std::string base_weights_identity(const LoraConfig& lora) {
  std::string identity;
  const std::vector<double> multipliers = base_multipliers(lora);
  for (size_t i = 0; i < multipliers.size(); ++i) {
    identity += str(":", multipliers[i], "*", checksum_text(weight_fingerprint(WeightStore(lora.base_weights[i]))));
  }
  return identity;
}

BaseAdapters read_base_adapters(const LoraConfig& lora, const flux::FluxConfig& sizes) {
  BaseAdapters base;
  const std::vector<double> multipliers = base_multipliers(lora);
  for (size_t i = 0; i < multipliers.size(); ++i) {
    const std::string& file = lora.base_weights[i];
    const WeightStore store(file);
    flux::LoraParts parts = flux::sort_adapters(read_adapters(store), sizes, file);
    base.transformer.add(std::move(parts.transformer), multipliers[i]);
    for (AdapterTensors& adapter : parts.text_encoders) {
      const auto layer = flux::parse_text_encoder_layer(adapter.module);
      if (!layer) {
        throw ModelError("[" + file + ": " + adapter.tensors.begin()->second.name +
                         "] expected a layer of CLIP or T5, got " + adapter.module);
      }
      adapter.module = layer->module;
      AdapterMerger& merger = layer->part == flux::LoraPart::kT5 ? base.t5 : base.clip;
      merger.add({std::move(adapter)}, multipliers[i]);
    }
  }
  base.identity = base_weights_identity(lora);
  return base;
}

}  // namespace millrace
