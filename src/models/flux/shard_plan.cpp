#include "models/flux/shard_plan.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace::flux {

void check_tensor_parallel(const FluxConfig& config, int tp_size) {
  if (config.num_heads % tp_size == 0 && config.mlp_hidden_size() % tp_size == 0) return;
  throw ConfigError(
      str("[parallelism.tensor_parallel_degree] expected a "
          "number that divides num_heads ",
          config.num_heads, " and the MLP's ", config.mlp_hidden_size(), " channels, got ", tp_size));
}

TensorSplit tensor_split(const FluxConfig& config, const std::string& name) {
  constexpr int64_t kRows = 0, kColumns = 1;
  const int64_t h = config.hidden_size, m = config.mlp_hidden_size();
  const std::vector<std::pair<const char*, TensorSplit>> plan = {
      {"_attn.qkv.weight", {kRows, {h, h, h}}},    // heads of q, of k, of v
      {"_attn.qkv.bias", {kRows, {h, h, h}}},      // the same
      {"_attn.proj.weight", {kColumns, {h}}},      // heads
      {"_mlp.0.weight", {kRows, {m}}},             // channels
      {"_mlp.0.bias", {kRows, {m}}},               // channels
      {"_mlp.2.weight", {kColumns, {m}}},          // channels
      {".linear1.weight", {kRows, {h, h, h, m}}},  // heads of q, of k, of v; channels
      {".linear1.bias", {kRows, {h, h, h, m}}},    // the same
      {".linear2.weight", {kColumns, {h, m}}},     // heads; channels
  };
  for (const auto& [ending, split] : plan) {
    if (ends_with(name, ending)) return split;
  }
  return {};
}

}  // namespace millrace::flux
