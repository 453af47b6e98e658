#include "models/llama/generate.h"

#include <algorithm>

#include "base/error.h"

namespace millrace::llama {

std::vector<int64_t> generate_greedily(Llama& model, const std::vector<int64_t>& prompt, int64_t max_new_tokens,
                                       const std::vector<int64_t>& stop_tokens) {
  if (prompt.empty()) throw ModelError("[Llama's prompt] expected at least one token, got none");
  const torch::Device device = model.flat_parameters().compute().device();
  std::vector<KeyValueCache> cache = model.make_cache(static_cast<int64_t>(prompt.size()) + max_new_tokens);
  std::vector<int64_t> generated, next = prompt;
  while (static_cast<int64_t>(generated.size()) < max_new_tokens) {
    const torch::Tensor logits_V = model.next_logits(torch::tensor(next, torch::kInt64).to(device), cache);
    const int64_t token = logits_V.argmax().item<int64_t>();
    if (std::find(stop_tokens.begin(), stop_tokens.end(), token) != stop_tokens.end()) break;
    generated.push_back(token);
    next = {token};
  }
  return generated;
}

}  // namespace millrace::llama
