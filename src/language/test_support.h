// Golden values and vocabularies that the tests of this folder read.
#pragma once

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "language/llama3_tokens.h"
#include "tokenizers/byte_level_tokenizer.h"

namespace millrace {

inline std::filesystem::path golden_path(const std::string& name) {
  return std::filesystem::path(MILLRACE_GOLDEN) / "llama" / name;
}

inline nlohmann::ordered_json golden_json(const std::string& name) {
  std::ifstream file(golden_path(name));
  return nlohmann::ordered_json::parse(file);
}

// The vocabulary of recipes/base: 480 tokens, the special ones behind them.
inline const ByteLevelTokenizer& small_tokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(golden_path("recipes/base/tokenizer.model"));
  return dynamic_cast<const ByteLevelTokenizer&>(*tokenizer);
}

// What an action throws, or "nothing thrown".
template <typename Failure, typename Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Failure& error) {
    return error.what();
  }
  return "nothing thrown";
}

}  // namespace millrace
