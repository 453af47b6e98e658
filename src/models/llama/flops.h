// Floating-point operations of a decoder.
#pragma once

#include <cstdint>

#include "models/llama/config.h"

namespace millrace::llama {

// The elements of the matrices that every token is multiplied with: those of the layers, and the output layer.
int64_t matrix_elements(const LlamaConfig& config);

// Model FLOPs of tokens in documents of that length, forward and backward: 6 per matrix element and token, and causal
// attention's 6 x layers x heads x head_dim x length (half of the full square). frozen: 4 per element, without the
// gradients of the weights; those of adapters are small beside the rest and not counted. Recomputation is not counted.
double train_flops(const LlamaConfig& config, double tokens, double document_length, bool frozen);

}  // namespace millrace::llama
