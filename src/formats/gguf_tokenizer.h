// The tokenizer that a GGUF file carries, in the words of Hugging Face's files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "formats/gguf.h"

namespace millrace {

// The values of tokenizer.ggml.token_type.
struct GgufTokenType {
  enum : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
};

struct GgufTokenizer {
  nlohmann::json tokenizer;  // what tokenizer.json would hold
  nlohmann::json config;     // tokenizer_config.json: names of special tokens, the chat template
};

// Byte-level BPE that splits text as SmolLM2, Llama 3, Qwen2, Mistral Nemo or GPT-2 do (tokenizer.ggml.pre), or
// SentencePiece's BPE; nothing where the file has no vocabulary. Throws ModelError for another kind of tokenizer, and
// for lists that do not fit each other.
std::optional<GgufTokenizer> gguf_tokenizer(const GgufMetadata& metadata, const std::string& place);

// A key of true or false, and an array of integers; nothing where there is none. Throw ModelError for another type.
std::optional<bool> gguf_boolean(const GgufMetadata& metadata, std::string_view key, const std::string& place);
std::optional<std::vector<int64_t>> gguf_integers(const GgufMetadata& metadata, std::string_view key,
                                                  const std::string& place);

// What GGUF calls the way in which a pre_tokenizer of tokenizer.json cuts text into words: "smollm", "llama-bpe",
// "qwen2", "tekken" or "gpt-2". Throws ModelError for others.
std::string gguf_split_name(const nlohmann::json& pre_tokenizer);

}  // namespace millrace
