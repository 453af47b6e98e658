// FLUX's layers in the words of LoRA files: kohya's (lora_unet_double_blocks_0_img_attn_qkv), those of diffusers and
// PEFT (transformer.transformer_blocks.0.attn.to_q), and our own, which are Black Forest's.
#pragma once

#include <string>
#include <vector>

#include "adapters/adapter_file.h"
#include "models/flux/config.h"

namespace millrace::flux {

// A file's adapters by the model that they are of.
struct LoraParts {
  std::vector<AdapterTensors> transformer;    // with modules and rows as the model has them
  std::vector<AdapterTensors> text_encoders;  // in the file's words
};
// in_file: adapters/read_adapters.h. Throws ModelError naming the tensors that are of neither, of other sizes than the
// transformer's layer, or of a layer that another adapter of the file has already. unknown: gets a tensor's name of
// every adapter that is of neither, in place of the error.
LoraParts sort_adapters(std::vector<AdapterTensors> in_file, const FluxConfig& config, const std::string& place,
                        std::vector<std::string>* unknown = nullptr);

// A run's adapters, as configured_adapters() gives them; those of fused layers that were trained apart as rows of their
// layers.
LoraParts sort_run_adapters(std::vector<AdapterTensors> adapters, const FluxConfig& config);

// A file's, the transformer's alone; a note in the log counts the text encoders'. Throws ModelError also where there
// are none.
std::vector<AdapterTensors> transformer_adapters(std::vector<AdapterTensors> in_file, const FluxConfig& config,
                                                 const std::string& place);

}  // namespace millrace::flux
