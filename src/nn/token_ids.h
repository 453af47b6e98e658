// Checks token ids from outside, once, before an embedding lookup.
#pragma once

#include <string>

#include <torch/types.h>

namespace millrace {

// Throws ModelError unless ids_BL is int64 [B, L], not empty, with every id in [0, vocab_size).
// what: the model's name for the message. On a GPU this waits for the device.
void check_token_ids(const std::string& what, const torch::Tensor& ids_BL, int64_t vocab_size);

}  // namespace millrace
