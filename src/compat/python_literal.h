// The values of optimizer_args: Python literals, as far as they are numbers, words of Python, texts and tuples.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace millrace {

struct PythonLiteral {
  enum class Kind { kNone, kBool, kNumber, kText, kTuple };
  Kind kind = Kind::kNone;
  bool boolean = false;
  double number = 0;
  std::optional<int64_t> whole = {};  // of a number that is written as one: 2, not 2.0
  std::string text;
  std::vector<PythonLiteral> items;
  bool is_list = false;  // of a tuple: written in square brackets
};

// "0.01", "True", "None", "(0.9, 0.99)", "0.9,0.99", "[1, 2]", "'word'". nullopt: none of these.
std::optional<PythonLiteral> parse_python_literal(const std::string& text);

struct PythonArgument {
  std::string name;  // the whole text where it has no "="
  std::optional<PythonLiteral> value;
};
// "name=VALUE".
PythonArgument parse_python_argument(const std::string& text);

// As Python's str() writes the value: "1e-06", "(0.9, 0.99)", "[1, 2]", "(2,)", "word", "('word', 1)".
std::string python_text(const PythonLiteral& value);

}  // namespace millrace
