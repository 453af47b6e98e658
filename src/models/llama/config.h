// Sizes of a Llama-style decoder, from Hugging Face's config.json.
//
// Mistral, Qwen2 and Qwen3 are the same network with a sliding window, with biases on q, k and v, or with norms on q
// and k; model_type tells which. Everything else that a config.json may ask for is refused by name.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace millrace::llama {

enum class RopeKind { kPlain, kLinear, kLlama3 };

// theta and the stretching of its wavelengths: rope_scaling, or rope_parameters since transformers 5.
struct RopeConfig {
  double theta = 10000;
  RopeKind kind = RopeKind::kPlain;
  double factor = 1;                                 // kLinear, kLlama3
  double low_freq_factor = 1, high_freq_factor = 4;  // kLlama3
  double original_max_position_embeddings = 8192;    // kLlama3
};

struct LlamaConfig {
  std::string model_type = "llama";  // "mistral", "qwen2", "qwen3"
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0;
  int64_t num_hidden_layers = 0, num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  bool qk_norm = false;
  RopeConfig rope;
  // Per layer: a token sees itself and window - 1 tokens before it; 0: all before it.
  std::vector<int64_t> windows;
};

// Throws ModelError when the sizes do not go together. place: the file, for messages.
void check(const LlamaConfig& config, const std::string& place);
// Absent keys have the defaults of transformers' class for the model_type.
LlamaConfig config_from_json(const nlohmann::json& json, const std::string& place);
nlohmann::ordered_json to_hugging_face_json(const LlamaConfig& config);

}  // namespace millrace::llama
