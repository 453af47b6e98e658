// A document as a tree in which every value knows its line: for files whose tables lie in lists, and for messages that
// name the place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/toml_file.h"

namespace millrace {

struct PlacedValue {
  enum class Kind { kNull, kBool, kInteger, kFloat, kText, kList, kTable, kOther };
  Kind kind = Kind::kNull;
  bool boolean = false;
  int64_t integer = 0;
  double floating = 0;
  std::string text;                // of kText; of kOther what it is ("a date or time")
  std::vector<PlacedValue> items;  // of kList; of kTable its members, in the order of the file
  std::string key;                 // of a member
  TomlPlace place;                 // of the key, or of the value in a list; column 0: unknown

  bool is(Kind wanted) const { return kind == wanted; }
  const PlacedValue* find(std::string_view name) const;  // a member; nullptr: there is none
};

// `the text "ten"`, `the number 0.5`, `a table`: for error messages.
std::string describe(const PlacedValue& value);

// Throws ConfigError naming file_name and line for broken TOML.
PlacedValue parse_toml_tree(std::string_view content, const std::string& file_name);

}  // namespace millrace
