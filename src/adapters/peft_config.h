// adapter_config.json of PEFT, as far as it says how a LoRA is computed.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

struct PeftConfig {
  std::string place;  // the file, for messages
  int64_t rank = 8;
  double alpha = 8;
  bool is_dora = false, is_rslora = false;
  // Patterns, regular expressions that a module's name or its end after a dot matches, with their own values.
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;

  int64_t rank_of(const std::string& module) const;
  double scale_of(const std::string& module) const;  // alpha / rank, or alpha / sqrt(rank)
};

// Throws ConfigError for what cannot be read, ModelError, naming the key, for adapters that are not LoRA or DoRA of
// linear layers.
PeftConfig read_peft_config(const std::filesystem::path& path);

}  // namespace millrace
