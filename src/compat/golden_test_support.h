// Recorded answers of sd-scripts and torchtune (tests/golden/), for the tests of compat/.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "compat/translation.h"

namespace millrace {

inline nlohmann::ordered_json compat_golden(const std::string& name) {
  return nlohmann::ordered_json::parse(read_file(std::filesystem::path(MILLRACE_GOLDEN) / name));
}

inline std::vector<std::string> json_words(const nlohmann::ordered_json& list) {
  std::vector<std::string> words;
  for (const auto& word : list) words.push_back(word.get<std::string>());
  return words;
}

// The message of the ConfigError that action throws; "" where it throws none.
template <typename Action>
std::string config_problem(const Action& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

// What a translation sets an option to, as TOML; "" where it sets none.
inline std::string setting(const Translation& translation, const std::string& name) {
  const TomlValue* value = translation.find(name);
  return value == nullptr ? "" : toml_text(*value);
}

}  // namespace millrace
