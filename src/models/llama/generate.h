// Text from a decoder, token by token.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "models/llama/model.h"

namespace millrace::llama {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  std::vector<int64_t> stop_tokens = {};  // end the text, and are not part of it
  double temperature = 0;                 // what logits are divided by; 0: the likeliest token each time
  double top_p = 1;                       // draw among the likeliest tokens that together have this probability
  uint64_t seed = 0, id = 0;              // of the drawing; id: which of several texts it is
  std::function<void(int64_t token)> on_token = {};  // called with each token as soon as it is known
};

// What follows the prompt. Of tokens that are equally likely, the first. On several ranks that share the model, all
// call it with the same arguments. Throws ModelError for an empty prompt and for unknown tokens.
std::vector<int64_t> generate(Llama& model, const std::vector<int64_t>& prompt, const GenerateOptions& options);

// The same for the likeliest token time after time.
std::vector<int64_t> generate_greedily(Llama& model, const std::vector<int64_t>& prompt, int64_t max_new_tokens,
                                       const std::vector<int64_t>& stop_tokens = {});

// The token that the number u of [0, 1) draws: tokens lie beside each other in the order of their probability, those
// alike in the order of their ids, each as wide as it is likely, up to the first ones that together reach top_p
// (Holtzman et al. 2019, arXiv 1904.09751). logits_V: any dtype; temperature above 0.
int64_t draw_token(const torch::Tensor& logits_V, double temperature, double top_p, double u);

}  // namespace millrace::llama
