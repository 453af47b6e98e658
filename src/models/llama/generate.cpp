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
  const double largest = *std::max_element(logits, logits + size);
  const auto weight = [&](size_t token) { return std::exp((logits[token] - largest) / temperature); };
  double total = 0;
  for (size_t token = 0; token < size; ++token) total += weight(token);

  // A heap gives the likeliest tokens one by one, and few are needed: sorting a whole vocabulary takes as long as a
  // small model's pass.
  std::vector<size_t> heap(size);
  std::iota(heap.begin(), heap.end(), size_t{0});
  const auto comes_later = [&](size_t a, size_t b) { return logits[a] != logits[b] ? logits[a] < logits[b] : a > b; };
  std::make_heap(heap.begin(), heap.end(), comes_later);
  std::vector<size_t> likeliest;
  const auto take = [&] {
    std::pop_heap(heap.begin(), heap.end(), comes_later);
    likeliest.push_back(heap.back());
    heap.pop_back();
    return weight(likeliest.back());
  };
  double mass = total;
  if (top_p < 1) {
    mass = 0;
    while (!heap.empty() && mass < top_p * total) mass += take();
  }
  double end = 0;  // of the place of the token at hand
  for (size_t i = 0;; ++i) {
    if (i == likeliest.size()) {
      if (heap.empty() || (top_p < 1 && i > 0)) return static_cast<int64_t>(likeliest.back());
      take();
    }
    end += weight(likeliest[i]);
    if (u * mass < end) return static_cast<int64_t>(likeliest[i]);
  }
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
    if (options.on_token) options.on_token(token);
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
