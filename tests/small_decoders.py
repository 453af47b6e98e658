"""Small decoders of transformers with random weights, to compare with."""

import torch
from forward_parity import randomize
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

LLAMA3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 5e5}
SIZES = {
    # odd numbers of columns, of groups, of tokens in the vocabulary
    "untied": (LlamaConfig, LlamaForCausalLM, dict(vocab_size=71, hidden_size=30, intermediate_size=37, num_hidden_layers=3,
               num_attention_heads=3, num_key_value_heads=1, rope_parameters=LLAMA3)),
    "tied": (LlamaConfig, LlamaForCausalLM, dict(vocab_size=96, hidden_size=48, intermediate_size=64, num_hidden_layers=2,
             num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True, rms_norm_eps=1e-5)),
    "wide": (LlamaConfig, LlamaForCausalLM, dict(vocab_size=130, hidden_size=128, intermediate_size=210, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, head_dim=40, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4})),
    "biases": (LlamaConfig, LlamaForCausalLM, dict(vocab_size=50, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
               num_attention_heads=3, num_key_value_heads=3, attention_bias=True, mlp_bias=True)),
    "mistral": (MistralConfig, MistralForCausalLM, dict(vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, sliding_window=7)),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, dict(vocab_size=70, hidden_size=36, intermediate_size=50, num_hidden_layers=3,
              num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True, use_sliding_window=True, sliding_window=5, max_window_layers=1)),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, dict(vocab_size=66, hidden_size=40, intermediate_size=56, num_hidden_layers=2,
              num_attention_heads=4, num_key_value_heads=2, head_dim=12)),
}  # fmt: skip


def peer(name, seed=0):
    config_type, model_type, sizes = SIZES[name]
    return randomize(model_type(config_type(**sizes, attn_implementation="eager", use_cache=False)), seed)


def forward(module, inputs):
    return {"logits": module(**inputs).logits}


def ids(vocab_size, batch, length, seed=1):
    return torch.randint(0, vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))
