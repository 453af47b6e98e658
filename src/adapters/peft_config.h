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

// PEFT's rule for rank_pattern and alpha_pattern: a regular expression that fits the name of a module below the model,
// or its end from a dot on. Throws std::regex_error.
bool fits_peft_pattern(const std::string& pattern, const std::string& module);
// alpha / rank, or with rslora alpha / sqrt(rank).
double peft_scale(double alpha, int64_t rank, bool is_rslora);

// Throws ConfigError for what cannot be read, ModelError, naming the key, for adapters that are not LoRA or DoRA of
// linear layers.
PeftConfig read_peft_config(const std::filesystem::path& path);

}  // namespace millrace
