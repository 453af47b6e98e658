#include "models/llama/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/philox.h"

namespace millrace::llama {

int64_t draw_token(const torch::Tensor& logits_V, double temperature, double top_p, double u) {
  const torch::Tensor values_V = logits_V.to(torch::kCPU, torch::kFloat64).contiguous();
  const auto size = static_cast<size_t>(values_V.size(0));
  const double* logits = values_V.const_data_ptr<double>();
  std::vector<size_t> order(size);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  std::vector<double> weights(size);
  for (size_t i = 0; i < size; ++i) weights[i] = std::exp((logits[order[i]] - logits[order[0]]) / temperature);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  size_t kept = 0;
  double mass = 0;
  while (kept < size && mass < top_p * total) mass += weights[kept++];
  double left = u * mass;
  for (size_t i = 0; i + 1 < kept; ++i) {
    if (left < weights[i]) return static_cast<int64_t>(order[i]);
    left -= weights[i];
  }
  return static_cast<int64_t>(order[std::max<size_t>(kept, 1) - 1]);
}

std::vector<int64_t> generate(Llama& model, const std::vector<int64_t>& prompt, const GenerateOptions& options) {
  if (prompt.empty()) throw ModelError("[Llama's prompt] expected at least one token, got none");
  const torch::Device device = model.flat_parameters().compute().device();
  std::vector<KeyValueCache> cache = model.make_cache(static_cast<int64_t>(prompt.size()) + options.max_new_tokens);
  const RandomStream stream = random_stream(options.seed, RandomPurpose::kSampling, 0, options.id);
  std::vector<int64_t> generated, next = prompt;
  while (static_cast<int64_t>(generated.size()) < options.max_new_tokens) {
    const torch::Tensor logits_V = model.next_logits(torch::tensor(next, torch::kInt64).to(device), cache);
    const int64_t token = options.temperature == 0 ? logits_V.argmax().item<int64_t>()
                                                   : draw_token(logits_V, options.temperature, options.top_p,
                                                                random_uniform(stream, generated.size()));
    if (std::find(options.stop_tokens.begin(), options.stop_tokens.end(), token) != options.stop_tokens.end()) break;
    generated.push_back(token);
    next = {token};
  }
  return generated;
}

std::vector<int64_t> generate_greedily(Llama& model, const std::vector<int64_t>& prompt, int64_t max_new_tokens,
                                       const std::vector<int64_t>& stop_tokens) {
  GenerateOptions options;
  options.max_new_tokens = max_new_tokens;
  options.stop_tokens = stop_tokens;
  return generate(model, prompt, options);
}

}  // namespace millrace::llama
