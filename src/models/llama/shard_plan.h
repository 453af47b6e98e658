// How tensor parallelism splits the weights of a decoder, as data.
//
// After Megatron-LM (Shoeybi et al., arXiv 1909.08053): what makes heads and MLP channels is split by rows, what joins
// them by columns, so that a rank computes whole heads, with their key and value heads, and each half of a layer ends
// in one sum over ranks. Embedding and output layer are split by tokens of the vocabulary; norms are whole.
#pragma once

#include <string>

#include "models/llama/config.h"
#include "parallel/tensor_split.h"

namespace millrace::llama {

// Throws ConfigError, naming the count, unless tp_size divides the query heads, the key and value heads and the MLP's
// channels, and the vocabulary has a token for each rank. The vocabulary need not divide.
void check_tensor_parallel(const LlamaConfig& config, int tp_size);

// How a parameter is split; whole for those that every rank holds. Of a tied model, lm_head is the embedding.
TensorSplit tensor_split(const LlamaConfig& config, const std::string& name);

}  // namespace millrace::llama
