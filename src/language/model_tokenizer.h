// The tokenizer of a language model: of files as Hugging Face has them, or of the GGUF file with the model's weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "formats/gguf_tokenizer.h"
#include "tokenizers/byte_level_tokenizer.h"

namespace millrace {

// path: what load_tokenizer() takes, a .gguf file, or a folder whose only file that could hold a tokenizer is a .gguf
// file. Throws ModelError for a tokenizer that is not a language model's.
std::unique_ptr<ByteLevelTokenizer> load_model_tokenizer(const std::filesystem::path& path);

// What such a GGUF file carries; nothing where path is another kind of file, or a folder with a tokenizer's files.
// Throws ModelError for a GGUF file without a tokenizer.
std::optional<GgufTokenizer> carried_tokenizer(const std::filesystem::path& path);

// A checksum of all that says how texts and conversations become ids: the vocabulary, its settings and the chat
// template, of the same path.
uint64_t tokenizer_digest(const std::filesystem::path& path);

}  // namespace millrace
