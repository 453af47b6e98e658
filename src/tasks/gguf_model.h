// A language model as one GGUF file, for llama.cpp and programs around it.
#pragma once

#include <filesystem>
#include <string>

#include "formats/gguf_writer.h"
#include "nn/tensor_io.h"

namespace millrace {

struct GgufModelFacts {
  std::string config_json;                  // Hugging Face's
  std::filesystem::path tokenizer;          // tokenizer.json, a folder with one, or a GGUF file
  GgufStorage storage = GgufStorage::kF16;  // of matrices; norms are F32, and matrices whose rows no block divides F16
};

// theirs: Hugging Face's names, as meta tensors; read() is called once for each. Returns one line about the file.
// Throws ConfigError for a model without a tokenizer, ModelError for one that GGUF's llama is not.
std::string write_gguf_model(const std::filesystem::path& output, const TensorMap& theirs, const TensorSource& read,
                             const GgufModelFacts& facts);

}  // namespace millrace
