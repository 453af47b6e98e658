// adapter_config.json of PEFT, as far as it says how adapters are computed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "adapters/adapter_kind.h"

namespace millrace {

struct PeftConfig {
  std::string place;  // the file, for messages
  int64_t rank = 8;
  double alpha = 8;
  AdapterKind kind = AdapterKind::kLora;
  bool is_rslora = false;
  // Patterns, regular expressions that a module's name or its end after a dot matches, with their own values.
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;

  // module: its name below the model ("model.layers.0.mlp.up_proj").
  int64_t rank_of(const std::string& module) const;
  // alpha / rank, or alpha / sqrt(rank). own_rank: of the tensors; without it, rank_of(), as counts for LoKr, whose
  // matrices need not have a rank.
  double scale_of(const std::string& module) const { return scale_of(module, rank_of(module)); }
  double scale_of(const std::string& module, int64_t own_rank) const;
};

// PEFT's rule for rank_pattern and alpha_pattern: a regular expression that fits the name of a module below the model,
// or its end from a dot on. Throws ConfigError (base/regular_expression.h).
bool fits_peft_pattern(const std::string& pattern, const std::string& module);

// Throws ConfigError for what cannot be read, ModelError, naming the key, for adapters that are not LoRA, DoRA, LoHa or
// LoKr of linear layers.
PeftConfig read_peft_config(const std::filesystem::path& path);
// The same of a table that is at hand; place: where it is from.
PeftConfig parse_peft_config(const nlohmann::ordered_json& table, const std::string& place);

}  // namespace millrace
