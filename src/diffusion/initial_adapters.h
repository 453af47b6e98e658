// The adapters of the file that training starts from: lora.initial_adapter.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "adapters/adapter_file.h"
#include "models/flux/config.h"

namespace millrace {

struct InitialAdapters {
  std::vector<AdapterTensors> transformer;  // one for each layer, whole, by our names
  // By the run's names of their layers ("clip_l.text_model...", "t5xxl.encoder..."); those of neither CLIP nor T5 by
  // the file's.
  std::vector<AdapterTensors> text_encoders;
};

// sizes: of the transformer. unknown: gets a tensor's name of every adapter of a layer that it does not have; null:
// there may be none. Throws ModelError as sort_adapters() and whole_adapters() do.
InitialAdapters read_initial_adapters(const std::filesystem::path& file, const flux::FluxConfig& sizes,
                                      std::vector<std::string>* unknown = nullptr);

// A name for messages: that of one of its tensors in the file.
const std::string& name_in_file(const AdapterTensors& adapter);

}  // namespace millrace
