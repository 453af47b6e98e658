#include "models/llama/shard_plan.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace::llama {
namespace {

// The largest degree up to tp_size that the model takes.
int nearest_degree(const LlamaConfig& config, int tp_size) {
  int degree = tp_size;
  while (config.num_attention_heads % degree != 0 || config.num_key_value_heads % degree != 0 ||
         config.intermediate_size % degree != 0 || config.vocab_size < degree) {
    --degree;
  }
  return degree;
}

}  // namespace

void check_tensor_parallel(const LlamaConfig& config, int tp_size) {
  const auto require = [&](bool fits, const std::string& expected) {
    if (fits) return;
    throw ConfigError(str("[parallelism.tensor_parallel_degree] expected ", expected, ", got ", tp_size, " (try ",
                          nearest_degree(config, tp_size), ")"));
  };
  const auto require_divisor = [&](int64_t count, const char* of) {
    require(count % tp_size == 0, str("a divisor of the model's ", count, " ", of));
  };
  require_divisor(config.num_attention_heads, "query heads");
  require_divisor(config.num_key_value_heads, "key and value heads, which are not copied to several ranks");
  require_divisor(config.intermediate_size, "channels of the feed-forward network");
  require(config.vocab_size >= tp_size, str("at most one rank for each of the ", config.vocab_size, " tokens"));
}

TensorSplit tensor_split(const LlamaConfig& config, const std::string& name) {
  constexpr int64_t kRows = 0, kColumns = 1;
  const int64_t query = config.num_attention_heads * config.head_dim;
  const int64_t key = config.num_key_value_heads * config.head_dim;
  const int64_t channels = config.intermediate_size;
  const std::vector<std::pair<const char*, TensorSplit>> plan = {
      {".q_proj.weight", {kRows, {query}}},
      {".q_proj.bias", {kRows, {query}}},
      {".k_proj.weight", {kRows, {key}}},
      {".k_proj.bias", {kRows, {key}}},
      {".v_proj.weight", {kRows, {key}}},
      {".v_proj.bias", {kRows, {key}}},
      {".o_proj.weight", {kColumns, {query}}},
      {".gate_proj.weight", {kRows, {channels}}},
      {".gate_proj.bias", {kRows, {channels}}},
      {".up_proj.weight", {kRows, {channels}}},
      {".up_proj.bias", {kRows, {channels}}},
      {".down_proj.weight", {kColumns, {channels}}},
      {"embed_tokens.weight", {kRows, {config.vocab_size}}},
      {"lm_head.weight", {kRows, {config.vocab_size}}},
  };
  for (const auto& [ending, split] : plan) {
    if (ends_with(name, ending)) return split;
  }
  return {};
}

}  // namespace millrace::llama
