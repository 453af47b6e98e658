// A Llama with Hugging Face's names, sizes and tokenizer, in the words of a GGUF file: the inverse of gguf_names.h and
// gguf_tokenizer.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/gguf_writer.h"

namespace millrace {

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight". Throws ModelError for a tensor that a GGUF file of
// a Llama has no name for.
std::string gguf_name(const std::string& hugging_face_name);

// The keys general.* and llama.* of a model with this config.json; storage: of its matrices. Throws ModelError for a
// model_type other than llama, and mistral without a sliding window.
void add_gguf_sizes(GgufKeys& keys, const nlohmann::json& config, const std::string& model_name, GgufStorage storage);

// The keys tokenizer.*. tokenizer: tokenizer.json of BPE, of bytes or SentencePiece's; config: tokenizer_config.json,
// or null; chat_template: replaces config's; vocab_size: the model's, whose last tokens the tokenizer may not have.
// Throws ModelError for a tokenizer that GGUF has no words for.
void add_gguf_tokenizer(GgufKeys& keys, const nlohmann::json& tokenizer, const nlohmann::json& config,
                        const std::string& chat_template, int64_t vocab_size);

// What the rotary frequencies of Llama 3.1 are divided by, one for each pair; nothing for plain ones.
std::optional<std::vector<float>> gguf_rope_factors(const nlohmann::json& config);

}  // namespace millrace
