// Recorded answers of sd-scripts (tests/golden/flux_lora/), for the tests of picture_sets/.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "base/files.h"

namespace millrace {

using GoldenJson = nlohmann::ordered_json;

inline std::filesystem::path golden_path(const std::string& name) {
  return std::filesystem::path(MILLRACE_GOLDEN) / name;
}

inline GoldenJson read_golden(const std::string& name) {
  return GoldenJson::parse(read_file(golden_path(name)));
}

inline std::vector<std::string> words_of(const GoldenJson& args) {
  std::vector<std::string> words;
  for (const auto& word : args) words.push_back(word.get<std::string>());
  return words;
}

}  // namespace millrace
