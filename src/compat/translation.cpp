#include "compat/translation.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {
namespace {

constexpr size_t kColumns = 110, kMaxLeft = 44;

// As the value of an override: a text literally, everything else as in TOML.
std::string override_text(const TomlValue& value) {
  return value.kind == TomlValue::Kind::kText ? value.text : toml_text(value);
}

// words in lines of at most width characters, the second and later ones indented by as much.
std::string wrapped(const std::string& words, size_t indent) {
  std::string text;
  size_t column = indent;
  for (const std::string& word : split(words, ' ')) {
    if (column > indent && column + 1 + word.size() > kColumns) {
      text += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      text += " ";
      ++column;
    }
    text += word;
    column += word.size();
  }
  return text;
}

std::string shown(const TheirSetting& from) {
  std::string text = from.name;
  if (!from.value.empty()) text += (starts_with(from.name, "--") ? " " : "=") + from.value;
  return text;
}

}  // namespace

Translation::Row& Translation::row_of(const TheirSetting& from) {
  const auto found = std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) {
    return row.from.name == from.name && row.from.value == from.value;
  });
  if (found != rows_.end()) return *found;
  rows_.push_back({.from = from});
  return rows_.back();
}

void Translation::set(const std::string& name, const TomlValue& value, const TheirSetting& from) {
  values_[name] = {value, place_of(from)};
  Row& row = row_of(from);
  row.fate = Fate::kBecame;
  row.words.push_back(name + " = " + toml_text(value));
}
void Translation::set(const std::string& name, const std::string& value, const TheirSetting& from) {
  set(name, TomlValue::of_text(value), from);
}
void Translation::set(const std::string& name, double value, const TheirSetting& from) {
  set(name, TomlValue{.kind = TomlValue::Kind::kFloat, .floating = value}, from);
}
void Translation::set(const std::string& name, int64_t value, const TheirSetting& from) {
  set(name, TomlValue{.kind = TomlValue::Kind::kInteger, .integer = value}, from);
}
void Translation::set(const std::string& name, bool value, const TheirSetting& from) {
  set(name, TomlValue{.kind = TomlValue::Kind::kBool, .boolean = value}, from);
}
void Translation::set(const std::string& name, const std::vector<std::string>& values, const TheirSetting& from) {
  TomlValue list{.kind = TomlValue::Kind::kList};
  for (const std::string& value : values) list.items.push_back(TomlValue::of_text(value));
  set(name, list, from);
}

void Translation::note(const TheirSetting& from, Fate fate, const std::string& words) {
  Row& row = row_of(from);
  if (row.words.empty()) row.fate = fate;
  row.words.push_back(fate == Fate::kNoEffect && row.fate != fate ? "no effect: " + words : words);
  if (fate == Fate::kNoEffect) row.without_effect.push_back(words);
}

bool Translation::mentions(const TheirSetting& from) const {
  return std::any_of(rows_.begin(), rows_.end(), [&](const Row& row) { return row.from.name == from.name; });
}

const TomlValue* Translation::find(const std::string& name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second.value;
}

std::vector<std::string> Translation::overrides() const {
  std::vector<std::string> overrides;
  for (const auto& [name, value] : values_) overrides.push_back("--" + name + "=" + override_text(value.value));
  return overrides;
}

std::string Translation::table(const std::string& their_program) const {
  size_t width = 0;
  for (const Row& row : rows_) {
    if (shown(row.from).size() <= kMaxLeft) width = std::max(width, shown(row.from).size());
  }
  const size_t indent = 2 + width + 2;
  std::string written, defaults;
  for (const Row& row : rows_) {
    const std::string left = shown(row.from);
    std::string words = join(row.words, ", ");
    if (row.fate == Fate::kSameResult) words = "nothing to do here" + (words.empty() ? "" : ": " + words);
    if (row.fate == Fate::kNoEffect) words = "no effect" + (words.empty() ? "" : ": " + words);
    std::string& part = row.from.place.empty() ? defaults : written;
    part += "  " + left;
    part += left.size() <= width ? std::string(width + 2 - left.size(), ' ') : "\n" + std::string(indent, ' ');
    part += wrapped(words, indent) + "\n";
  }
  std::string text;
  if (!written.empty()) text += "settings of " + their_program + ", and what they became:\n" + written;
  if (!defaults.empty()) text += "defaults of " + their_program + ", and what they became:\n" + defaults;
  return text;
}

std::vector<std::string> Translation::warnings() const {
  std::vector<std::string> warnings;
  for (const Row& row : rows_) {
    if (row.without_effect.empty() || row.from.place.empty()) continue;
    const std::string name = row.from.name == row.from.place ? "" : row.from.name + " ";
    warnings.push_back("[" + row.from.place + "] " + name + "has no effect: " + join(row.without_effect, ", "));
  }
  return warnings;
}

std::string Translation::in_their_words(const std::string& message) const {
  std::vector<std::string> lines = split(message, '\n');
  for (std::string& line : lines) {
    for (const char* prefix : {"[--", "["}) {
      const size_t end = line.find(']');
      if (!starts_with(line, prefix) || end == std::string::npos) continue;
      const size_t begin = std::string_view(prefix).size();
      const auto found = values_.find(line.substr(begin, end - begin));
      if (found == values_.end()) continue;
      line = "[" + found->second.place + ", here " + found->first + line.substr(end);
      break;
    }
  }
  return join(lines, "\n");
}

}  // namespace millrace
