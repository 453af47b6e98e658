#include "models/llama/layers.h"

namespace millrace::llama {

SelfAttention::SelfAttention(const LlamaConfig& config, int tp_size) {
  const int64_t query_width = config.num_attention_heads / tp_size * config.head_dim;
  const int64_t key_width = config.num_key_value_heads / tp_size * config.head_dim;
  const auto linear = [&](const char* name, int64_t in, int64_t out, bool bias) {
    return register_module(name, std::make_shared<Linear>(in, out, bias));
  };
  q_proj = linear("q_proj", config.hidden_size, query_width, config.qkv_bias);
  k_proj = linear("k_proj", config.hidden_size, key_width, config.qkv_bias);
  v_proj = linear("v_proj", config.hidden_size, key_width, config.qkv_bias);
  o_proj = linear("o_proj", query_width, config.hidden_size, config.output_bias);
  if (!config.qk_norm) return;
  const auto norm = [&] { return std::make_shared<PlainRmsNorm>(config.head_dim, config.rms_norm_eps, kUnplaced); };
  q_norm = register_module("q_norm", norm());
  k_norm = register_module("k_norm", norm());
}

Mlp::Mlp(const LlamaConfig& config, int tp_size) {
  const int64_t channels = config.intermediate_size / tp_size;
  const auto linear = [&](const char* name, int64_t in, int64_t out) {
    return register_module(name, std::make_shared<Linear>(in, out, config.mlp_bias));
  };
  gate_proj = linear("gate_proj", config.hidden_size, channels);
  up_proj = linear("up_proj", config.hidden_size, channels);
  down_proj = linear("down_proj", channels, config.hidden_size);
}

}  // namespace millrace::llama
