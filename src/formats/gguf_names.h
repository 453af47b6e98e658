// What GGUF calls the tensors of a Llama, and the sizes of one, in Hugging Face's words.
#pragma once

#include <optional>
#include <string>

#include "formats/gguf.h"

namespace millrace {

// Gives a Llama's tensors Hugging Face's names, and marks the query and key matrices, whose rows llama.cpp's converter
// put into another order (TensorView::interleaved_heads). Tensors of other models keep their names: those of FLUX are
// Black Forest's already. Drops rope_freqs.weight, which the configuration says. Throws ModelError for a Llama's
// tensor or key that is not understood, and for one part of a split file.
void rename_gguf_tensors(GgufContent& content, const std::string& place);

// The config.json of a Llama; nothing for another model. Before renaming.
std::optional<std::string> gguf_config_json(const GgufContent& content, const std::string& place);

}  // namespace millrace
