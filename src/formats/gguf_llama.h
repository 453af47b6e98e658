// What reading and writing GGUF files of a Llama have in common: names of tensors, and how they keep rotary
// frequencies.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace millrace {

struct GgufName {
  const char* gguf;
  const char* hugging_face;
};
// Whole names.
inline constexpr auto kGgufOuterNames = std::to_array<GgufName>({{"token_embd.weight", "model.embed_tokens.weight"},
                                                                 {"output_norm.weight", "model.norm.weight"},
                                                                 {"output.weight", "lm_head.weight"}});
// "blk.3.attn_q.weight" is "model.layers.3.self_attn.q_proj.weight".
inline constexpr auto kGgufLayerNames = std::to_array<GgufName>({{"attn_norm", "input_layernorm"},
                                                                 {"ffn_norm", "post_attention_layernorm"},
                                                                 {"attn_q", "self_attn.q_proj"},
                                                                 {"attn_k", "self_attn.k_proj"},
                                                                 {"attn_v", "self_attn.v_proj"},
                                                                 {"attn_output", "self_attn.o_proj"},
                                                                 {"ffn_gate", "mlp.gate_proj"},
                                                                 {"ffn_up", "mlp.up_proj"},
                                                                 {"ffn_down", "mlp.down_proj"}});

// Llama 3.1's scaling of long wavelengths (config.json's rope_scaling).
struct GgufRopeScaling {
  double factor = 8, low_freq_factor = 1, high_freq_factor = 4, positions = 8192;
};
// What each of the head_dim / 2 frequencies theta^(-2i / head_dim) is divided by: 1 for short wavelengths, the factor
// for long ones, and a blend in between.
std::vector<double> gguf_rope_quotients(const GgufRopeScaling& scaling, double theta, int64_t head_dim);

}  // namespace millrace
