// Text from a decoder, token by token.
#pragma once

#include <cstdint>
#include <vector>

#include "models/llama/model.h"

namespace millrace::llama {

// The likeliest token time after time, up to max_new_tokens or until one of stop_tokens, which is not among the result.
// Of tokens that are equally likely, the first. Throws ModelError for an empty prompt and for unknown tokens.
std::vector<int64_t> generate_greedily(Llama& model, const std::vector<int64_t>& prompt, int64_t max_new_tokens,
                                       const std::vector<int64_t>& stop_tokens = {});

}  // namespace millrace::llama
