// Reads TOML into plain values with their positions; hides toml++.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct TomlValue {
  enum class Kind { kNone, kBool, kInteger, kFloat, kText, kList, kOther };
  Kind kind = Kind::kNone;
  bool boolean = false;
  int64_t integer = 0;
  double floating = 0;
  std::string text;  // of kText; of kOther what it is ("a date")
  std::vector<TomlValue> items;

  static TomlValue of_text(std::string text) { return {.kind = Kind::kText, .text = std::move(text)}; }
  bool operator==(const TomlValue&) const = default;
};

// `the text "ten"`, `the number 0.5`, `a list`: for error messages.
std::string describe(const TomlValue& value);

struct TomlPlace {
  int line = 0;  // both from 1
  int column = 0;
};

struct TomlEntry {
  std::string key;  // without its section; dots where tables nest, "dataloader.num_workers"
  TomlValue value;
  TomlPlace key_place, value_place;
};

struct TomlSection {
  std::string name;
  TomlPlace place;
  bool is_table = true;  // false: a key outside of any section
  std::vector<TomlEntry> entries;
};

// Sections and entries in the order of the file. Throws ConfigError for a missing or unreadable file, more than 1 MiB,
// or invalid TOML, with its line.
std::vector<TomlSection> read_toml_file(const std::filesystem::path& path);
std::vector<TomlSection> parse_toml(std::string_view content, const std::string& file_name);

// One value written as in TOML, such as `["a", "b"]`. Throws ConfigError naming place.
TomlValue parse_toml_value(std::string_view text, const std::string& place);

// The value as TOML; "None" for None, a description for a kind that no option has.
std::string toml_text(const TomlValue& value);

// text as a TOML string, with quotes.
std::string quote_toml(std::string_view text);

}  // namespace millrace
