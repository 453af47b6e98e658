#include "compat/yaml_tree.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <limits>
#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "compat/yaml_numbers.h"

namespace millrace {
namespace {

using Kind = PlacedValue::Kind;

constexpr uint64_t kMaxFileBytes = 1 << 20;
constexpr int kMaxLevels = 64;
constexpr int64_t kMaxValues = 100'000;

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

class Converter {
 public:
  explicit Converter(const std::string& file_name) : file_name_(file_name) {}

  PlacedValue convert(const YAML::Node& node, std::string key, TomlPlace place, int level) {
    if (level > kMaxLevels) fail(place, str("expected at most ", kMaxLevels, " levels, got more"));
    if (++count_ > kMaxValues) fail(place, str("expected at most ", kMaxValues, " values, got more"));
    PlacedValue value;
    switch (node.Type()) {
      case YAML::NodeType::Sequence:
        value.kind = Kind::kList;
        for (const YAML::Node& item : node) value.items.push_back(convert(item, "", place_of(item), level + 1));
        break;
      case YAML::NodeType::Map:
        value.kind = Kind::kTable;
        add_members(node, level, value);
        break;
      case YAML::NodeType::Scalar:
        value = scalar(node, place);
        break;
      case YAML::NodeType::Null:
      case YAML::NodeType::Undefined:
        break;
    }
    value.key = std::move(key);
    value.place = place;
    return value;
  }

  TomlPlace place_of(const YAML::Node& node) const { return {node.Mark().line + 1, node.Mark().column + 1}; }

 private:
  [[noreturn]] void fail(const TomlPlace& place, const std::string& message) const {
    throw ConfigError(str("[", file_name_, ":", place.line, ":", place.column, "] ", message));
  }

  void add_members(const YAML::Node& node, int level, PlacedValue& table) {
    std::vector<PlacedValue> merged;  // by "<<": what the table itself has not
    for (const auto& member : node) {
      const TomlPlace place = place_of(member.first);
      if (!member.first.IsScalar()) fail(place, "expected a word for a key, got a list or a table");
      const std::string key = member.first.Scalar();
      if (key == "<<" && member.first.Tag() == "?") {
        PlacedValue value = convert(member.second, "", place, level + 1);
        if (value.is(Kind::kTable)) value = {.kind = Kind::kList, .items = {value}};
        for (const PlacedValue& part : value.items) {
          if (!part.is(Kind::kTable)) fail(place, "expected tables to merge with <<, got " + describe(part));
          merged.insert(merged.end(), part.items.begin(), part.items.end());
        }
        continue;
      }
      if (const PlacedValue* other = table.find(key)) {
        fail(place,
             str("expected each key once, got ", json_escape(key), " again, which is in line ", other->place.line));
      }
      table.items.push_back(convert(member.second, key, place, level + 1));
    }
    for (const PlacedValue& member : merged) {
      if (table.find(member.key) == nullptr) table.items.push_back(member);
    }
  }

  PlacedValue scalar(const YAML::Node& node, const TomlPlace& place) const {
    const std::string tag = node.Tag();
    if (!is_valid_utf8(node.Scalar())) fail(place, "expected UTF-8, got other bytes");
    if (tag == "?" || tag.empty()) return yaml_scalar(node.Scalar());
    if (tag == "!" || tag == "tag:yaml.org,2002:str") return {.kind = Kind::kText, .text = node.Scalar()};
    if (is_one_of(tag, {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool",
                        "tag:yaml.org,2002:null"})) {
      return yaml_scalar(node.Scalar());
    }
    fail(place, "expected a plain value, got one with the tag " + json_escape(tag));
  }

  const std::string& file_name_;
  int64_t count_ = 0;
};

void without_places(PlacedValue& value) {
  value.place = {};
  for (PlacedValue& item : value.items) without_places(item);
}

}  // namespace

PlacedValue yaml_scalar(const std::string& word) {
  if (is_one_of(word, {"", "~", "null", "Null", "NULL"})) return {};
  if (is_one_of(word, {"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})) {
    return {.kind = Kind::kBool, .boolean = true};
  }
  if (is_one_of(word, {"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})) {
    return {.kind = Kind::kBool};
  }
  if (const auto integer = yaml_integer(word)) return {.kind = Kind::kInteger, .integer = *integer};
  if (const auto number = yaml_float(word)) return {.kind = Kind::kFloat, .floating = *number};
  return {.kind = Kind::kText, .text = word};
}

PlacedValue parse_yaml_tree(std::string_view content, const std::string& file_name) {
  std::vector<YAML::Node> documents;
  try {
    documents = YAML::LoadAll(std::string(content));
  } catch (const YAML::Exception& error) {
    throw ConfigError(str("[", file_name, ":", error.mark.line + 1, ":", error.mark.column + 1,
                          "] expected valid YAML, got: ", json_escape(error.msg)));
  }
  if (documents.size() > 1) {
    throw ConfigError(str("[", file_name, "] expected one YAML document, got ", documents.size()));
  }
  if (documents.empty()) return {.kind = Kind::kTable, .place = {1, 1}};
  Converter converter(file_name);
  return converter.convert(documents[0], "", {1, 1}, 0);
}

PlacedValue yaml_value(const std::string& text, const std::string& name) {
  const bool has_structure = text.find_first_of("[]{}\"'") != std::string::npos && text.find("${") == std::string::npos;
  if (!has_structure) return yaml_scalar(text);
  PlacedValue value = parse_yaml_tree(text, name);
  without_places(value);
  return value;
}

PlacedValue read_yaml_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw ConfigError("[" + path.string() + "] expected a YAML file, got no such file");
  }
  if (std::filesystem::is_directory(path, ignored)) {
    throw ConfigError("[" + path.string() + "] expected a YAML file, got a folder");
  }
  try {
    return parse_yaml_tree(read_file(path, kMaxFileBytes), path.string());
  } catch (const StorageError& error) {
    throw ConfigError(error.what());
  }
}

}  // namespace millrace
