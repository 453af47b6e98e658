#include "config/toml_file.h"

#include <algorithm>
#include <array>
#include <stdexcept>

// toml++ 3.3 has assertions that malformed input can trigger.
struct TomlAssertion : std::logic_error {
  using std::logic_error::logic_error;
};
[[noreturn]] static void fail_toml_assertion(const char* condition) {
  throw TomlAssertion(condition);
}
#undef NDEBUG  // with it toml++ would ignore the next line
#define TOML_ASSERT(condition) (static_cast<bool>(condition) ? void(0) : fail_toml_assertion(#condition))
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "config/number_text.h"
#include "config/placed_value.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxFileBytes = 1 << 20;
// Each dot of a key is a table inside a table, and tables are destroyed recursively.
constexpr int kMaxDotsInLine = 2000;

TomlPlace place_of(const toml::source_region& region) {
  return {static_cast<int>(region.begin.line), static_cast<int>(region.begin.column)};
}

TomlValue to_value(const toml::node& node) {
  using Kind = TomlValue::Kind;
  if (const auto* value = node.as_boolean()) return {.kind = Kind::kBool, .boolean = value->get()};
  if (const auto* value = node.as_integer()) return {.kind = Kind::kInteger, .integer = value->get()};
  if (const auto* value = node.as_floating_point()) return {.kind = Kind::kFloat, .floating = value->get()};
  if (const auto* value = node.as_string()) return TomlValue::of_text(value->get());
  if (const auto* array = node.as_array()) {
    TomlValue list{.kind = Kind::kList};
    for (const toml::node& item : *array) list.items.push_back(to_value(item));
    return list;
  }
  return {.kind = Kind::kOther, .text = node.is_table() ? "a table" : "a date or time"};
}

void flatten(const toml::table& table, const std::string& prefix, std::vector<TomlEntry>& entries) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    if (const toml::table* nested = node.as_table()) {
      flatten(*nested, name + ".", entries);
    } else {
      entries.push_back({name, to_value(node), place_of(key.source()), place_of(node.source())});
    }
  }
}

bool is_before(const TomlPlace& a, const TomlPlace& b) {
  return a.line != b.line ? a.line < b.line : a.column < b.column;
}

// The invalid line with a mark below the column, if known. Text that looks like a secret is not repeated.
std::string excerpt(std::string_view content, const TomlPlace& place) {
  const std::vector<std::string> lines = split(content, '\n');
  if (place.line < 1 || place.line > static_cast<int>(lines.size())) return "";
  std::string line = lines[static_cast<size_t>(place.line - 1)];
  const std::string lower = to_lower(line);
  for (const char* word : {"token", "secret", "password", "api_key"}) {
    if (lower.find(word) != std::string::npos && lower.find("tokenizer") == std::string::npos) return "";
  }
  if (line.size() > 160 || !is_valid_utf8(line)) return "";
  std::replace(line.begin(), line.end(), '\t', ' ');
  const std::string number = std::to_string(place.line);
  const std::string shown = "\n  " + number + " | " + line;
  if (place.column < 1) return shown;
  return shown + "\n  " + std::string(number.size(), ' ') + " | " +
         std::string(static_cast<size_t>(place.column - 1), ' ') + "^";
}

bool hits_assertion(std::string_view content) {
  try {
    const toml::table unused = toml::parse(content);
  } catch (const toml::parse_error&) {
    return false;
  } catch (const TomlAssertion&) {
    return true;
  }
  return false;
}

// An assertion has no position, but every prefix of the file that contains the invalid line triggers it.
int line_of_assertion(std::string_view content) {
  std::vector<size_t> line_ends;
  for (size_t i = 0; i < content.size(); ++i) {
    if (content[i] == '\n') line_ends.push_back(i + 1);
  }
  const auto broken = std::partition_point(line_ends.begin(), line_ends.end(),
                                           [&](size_t end) { return !hits_assertion(content.substr(0, end)); });
  return static_cast<int>(broken - line_ends.begin()) + 1;
}

void check_dots(std::string_view content, const std::string& file_name) {
  int line = 1, dots = 0;
  for (const char c : content) {
    if (c == '\n') {
      ++line;
      dots = 0;
    } else if (c == '.' && ++dots > kMaxDotsInLine) {
      throw ConfigError(str("[", file_name, ":", line, "] expected at most ", kMaxDotsInLine, " dots in a line"));
    }
  }
}

toml::table parse_root(std::string_view content, const std::string& file_name) {
  check_dots(content, file_name);
  try {
    return toml::parse(content, std::string_view(file_name));
  } catch (const toml::parse_error& error) {
    const TomlPlace place = place_of(error.source());
    throw ConfigError(str("[", file_name, ":", place.line, ":", place.column,
                          "] expected valid TOML, got: ", error.description(), excerpt(content, place)));
  } catch (const TomlAssertion&) {
    const int line = line_of_assertion(content);
    throw ConfigError(str("[", file_name, ":", line, "] expected valid TOML", excerpt(content, {line, 0})));
  }
}

PlacedValue to_tree(const toml::node& node, std::string key, const TomlPlace& place) {
  using Kind = PlacedValue::Kind;
  PlacedValue tree{.key = std::move(key), .place = place};
  if (const toml::table* table = node.as_table()) {
    tree.kind = Kind::kTable;
    for (const auto& [name, member] : *table) {
      tree.items.push_back(to_tree(member, std::string(name.str()), place_of(name.source())));
    }
    std::sort(tree.items.begin(), tree.items.end(),
              [](const PlacedValue& a, const PlacedValue& b) { return is_before(a.place, b.place); });
  } else if (const auto* array = node.as_array()) {
    tree.kind = Kind::kList;
    for (const toml::node& item : *array) tree.items.push_back(to_tree(item, "", place_of(item.source())));
  } else if (const auto* boolean = node.as_boolean()) {
    tree.kind = Kind::kBool;
    tree.boolean = boolean->get();
  } else if (const auto* integer = node.as_integer()) {
    tree.kind = Kind::kInteger;
    tree.integer = integer->get();
  } else if (const auto* floating = node.as_floating_point()) {
    tree.kind = Kind::kFloat;
    tree.floating = floating->get();
  } else if (const auto* text = node.as_string()) {
    tree.kind = Kind::kText;
    tree.text = text->get();
  } else {
    tree.kind = Kind::kOther;
    tree.text = "a date or time";
  }
  return tree;
}

}  // namespace

std::string describe(const TomlValue& value) {
  switch (value.kind) {
    case TomlValue::Kind::kInteger:
    case TomlValue::Kind::kFloat:
      return "the number " + toml_text(value);
    case TomlValue::Kind::kText:
      return value.text.size() > 80 ? "a text of " + std::to_string(value.text.size()) + " bytes"
                                    : "the text " + quote_toml(value.text);
    case TomlValue::Kind::kList:
      return "a list";
    case TomlValue::Kind::kNone:
    case TomlValue::Kind::kBool:
    case TomlValue::Kind::kOther:
      break;
  }
  return toml_text(value);
}

std::vector<TomlSection> parse_toml(std::string_view content, const std::string& file_name) {
  const toml::table root = parse_root(content, file_name);
  std::vector<TomlSection> sections;
  for (const auto& [key, node] : root) {
    TomlSection section{std::string(key.str()), place_of(key.source())};
    if (const toml::table* table = node.as_table()) {
      flatten(*table, "", section.entries);
      std::sort(section.entries.begin(), section.entries.end(),
                [](const TomlEntry& a, const TomlEntry& b) { return is_before(a.key_place, b.key_place); });
    } else {
      section.is_table = false;
    }
    sections.push_back(std::move(section));
  }
  std::sort(sections.begin(), sections.end(),
            [](const TomlSection& a, const TomlSection& b) { return is_before(a.place, b.place); });
  return sections;
}

PlacedValue parse_toml_tree(std::string_view content, const std::string& file_name) {
  return to_tree(parse_root(content, file_name), "", {1, 1});
}

std::vector<TomlSection> read_toml_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw ConfigError(str("[", path.string(), "] expected a TOML file, got no such file"));
  }
  if (std::filesystem::is_directory(path, ignored)) {
    throw ConfigError(str("[", path.string(), "] expected a TOML file, got a folder"));
  }
  std::string content;
  try {
    content = read_file(path, kMaxFileBytes);
  } catch (const StorageError& error) {
    throw ConfigError(error.what());
  }
  return parse_toml(content, path.string());
}

TomlValue parse_toml_value(std::string_view text, const std::string& place) {
  try {
    const toml::table table = toml::parse(str("value = ", text, "\n"));
    if (table.size() == 1 && table.contains("value")) return to_value(*table.get("value"));
  } catch (const toml::parse_error& error) {
    throw ConfigError(str("[", place, "] expected a TOML value, got: ", error.description()));
  } catch (const TomlAssertion&) {
    throw ConfigError(str("[", place, "] expected a TOML value"));
  }
  throw ConfigError(str("[", place, "] expected one TOML value, got more (put it in quotes)"));
}

std::string quote_toml(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        quoted += "\\\"";
        break;
      case '\\':
        quoted += "\\\\";
        break;
      case '\n':
        quoted += "\\n";
        break;
      case '\r':
        quoted += "\\r";
        break;
      case '\t':
        quoted += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
          std::array<char, 8> buffer{};
          std::snprintf(buffer.data(), buffer.size(), "\\u%04X", static_cast<unsigned>(c));
          quoted += buffer.data();
        } else {
          quoted += c;
        }
    }
  }
  return quoted + "\"";
}

std::string toml_text(const TomlValue& value) {
  switch (value.kind) {
    case TomlValue::Kind::kNone:
      return "None";
    case TomlValue::Kind::kBool:
      return value.boolean ? "true" : "false";
    case TomlValue::Kind::kInteger:
      return std::to_string(value.integer);
    case TomlValue::Kind::kFloat:
      return number_text(value.floating);
    case TomlValue::Kind::kText:
      return quote_toml(value.text);
    case TomlValue::Kind::kOther:
      return value.text;
    case TomlValue::Kind::kList:
      break;
  }
  std::vector<std::string> items;
  for (const TomlValue& item : value.items) items.push_back(toml_text(item));
  return "[" + join(items, ", ") + "]";
}

}  // namespace millrace
