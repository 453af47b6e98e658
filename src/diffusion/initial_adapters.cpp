#include "diffusion/initial_adapters.h"

#include "adapters/read_adapters.h"
#include "models/flux/lora_names.h"
#include "models/flux/lora_parts.h"
#include "models/lora_text_names.h"

namespace millrace {

InitialAdapters read_initial_adapters(const std::filesystem::path& file, const flux::FluxConfig& sizes,
                                      std::vector<std::string>* unknown) {
  flux::LoraParts parts = flux::sort_adapters(read_adapters(WeightStore(file)), sizes, file.string(), unknown);
  InitialAdapters found;
  found.transformer = flux::whole_adapters(parts.transformer, sizes);
  for (AdapterTensors& adapter : parts.text_encoders) {
    if (const auto layer = flux::parse_text_encoder_layer(adapter.module)) adapter.module = flux::run_name(*layer);
  }
  found.text_encoders = std::move(parts.text_encoders);
  return found;
}

const std::string& name_in_file(const AdapterTensors& adapter) {
  return adapter.tensors.begin()->second.name;
}

}  // namespace millrace
