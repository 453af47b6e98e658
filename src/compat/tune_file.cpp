#include "compat/tune_file.h"

#include "base/log.h"
#include "base/text.h"
#include "compat/dot_list.h"
#include "compat/yaml_tree.h"
#include "config/number_text.h"

namespace millrace {
namespace {

using Kind = PlacedValue::Kind;

void collect_variables(const PlacedValue& value, std::set<std::string>& variables) {
  if (value.is(Kind::kText)) {
    for (size_t at = value.text.find("${"); at != std::string::npos; at = value.text.find("${", at + 2)) {
      std::string rest = value.text.substr(at + 2);
      constexpr std::string_view kSelect = "oc.select:";
      if (starts_with(rest, kSelect)) rest.erase(0, kSelect.size());
      variables.insert(rest.substr(0, rest.find_first_of(".[}:,")));
    }
  }
  for (const PlacedValue& item : value.items) collect_variables(item, variables);
}

std::string shown(const PlacedValue& value) {
  switch (value.kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return value.boolean ? "true" : "false";
    case Kind::kInteger:
      return std::to_string(value.integer);
    case Kind::kFloat:
      return number_text(value.floating);
    case Kind::kText:
      return value.text;
    case Kind::kList: {
      std::vector<std::string> items;
      for (const PlacedValue& item : value.items) items.push_back(shown(item));
      return "[" + join(items, ", ") + "]";
    }
    case Kind::kTable: {
      std::vector<std::string> items;
      for (const PlacedValue& item : value.items) items.push_back(item.key + ": " + shown(item));
      return "{" + join(items, ", ") + "}";
    }
    case Kind::kOther:
      break;
  }
  return value.text;
}

}  // namespace

TuneFile parse_tune_file(const std::string& content, const std::string& name, const std::vector<std::string>& overrides,
                         const EnvironmentLookup& environment) {
  TuneFile file{.name = name, .root = parse_yaml_tree(content, name), .variables = {}};
  Problems problems;
  if (!file.root.is(Kind::kTable)) {
    problems.add(name, "expected a table of keys, got " + describe(file.root));
    problems.throw_if_any();
  }
  collect_variables(file.root, file.variables);  // of what overrides replace, too
  apply_overrides(overrides, file.root, problems);
  problems.throw_if_any();
  collect_variables(file.root, file.variables);
  resolve_interpolations(file.root, name, environment);
  return file;
}

TuneTable::TuneTable(const PlacedValue* table, std::string path, const TuneFile& file, Translation& out)
    : table_(table), path_(std::move(path)), file_(file), out_(out) {}

bool TuneTable::has(const std::string& key) const {
  return table_ != nullptr && table_->find(key) != nullptr;
}

const PlacedValue* TuneTable::find(const std::string& key) {
  asked_.insert(key);
  const PlacedValue* found = table_ == nullptr ? nullptr : table_->find(key);
  return found == nullptr || found->is(Kind::kNull) ? nullptr : found;
}

void TuneTable::wrong_type(const std::string& key, const char* expected, const PlacedValue& got) {
  refuse(key, str("expected ", expected, " for ", from(key).name, ", got ", describe(got)));
}

std::optional<std::string> TuneTable::text(const std::string& key) {
  const PlacedValue* found = find(key);
  if (found == nullptr) return std::nullopt;
  if (found->is(Kind::kText)) return found->text;
  if (found->is(Kind::kInteger) || found->is(Kind::kFloat)) return shown(*found);
  wrong_type(key, "a text", *found);
  return std::nullopt;
}

std::optional<int64_t> TuneTable::integer(const std::string& key) {
  const PlacedValue* found = find(key);
  if (found == nullptr) return std::nullopt;
  if (found->is(Kind::kInteger)) return found->integer;
  wrong_type(key, "a whole number", *found);
  return std::nullopt;
}

std::optional<double> TuneTable::number(const std::string& key) {
  const PlacedValue* found = find(key);
  if (found == nullptr) return std::nullopt;
  if (found->is(Kind::kInteger)) return static_cast<double>(found->integer);
  if (found->is(Kind::kFloat)) return found->floating;
  wrong_type(key, "a number", *found);
  return std::nullopt;
}

std::optional<bool> TuneTable::flag(const std::string& key) {
  const PlacedValue* found = find(key);
  if (found == nullptr) return std::nullopt;
  if (found->is(Kind::kBool)) return found->boolean;
  wrong_type(key, "true or false", *found);
  return std::nullopt;
}

std::optional<std::vector<std::string>> TuneTable::texts(const std::string& key) {
  const PlacedValue* found = find(key);
  if (found == nullptr) return std::nullopt;
  if (found->is(Kind::kText)) return std::vector<std::string>{found->text};
  std::vector<std::string> texts;
  for (const PlacedValue& item : found->items) {
    if (found->is(Kind::kList) && item.is(Kind::kText)) texts.push_back(item.text);
  }
  if (found->is(Kind::kList) && texts.size() == found->items.size()) return texts;
  wrong_type(key, "a list of texts", *found);
  return std::nullopt;
}

const PlacedValue* TuneTable::value(const std::string& key) {
  return find(key);
}

TuneTable TuneTable::table(const std::string& key) {
  const PlacedValue* found = find(key);
  if (found != nullptr && !found->is(Kind::kTable)) {
    wrong_type(key, "a table", *found);
    found = nullptr;
  }
  return {found, path_.empty() ? key : path_ + "." + key, file_, out_};
}

TheirSetting TuneTable::from(const std::string& key, const std::string& fallback) const {
  const std::string name = path_.empty() ? key : path_ + "." + key;
  const PlacedValue* found = table_ == nullptr ? nullptr : table_->find(key);
  if (found == nullptr) return {.name = name, .value = fallback, .place = ""};
  const TomlPlace& at = found->place;
  return {.name = name,
          .value = shown(*found),
          .place = at.line == 0 ? name : str(file_.name, ":", at.line, ":", at.column)};
}

void TuneTable::note(const std::string& key, Fate fate, const std::string& words) {
  if (find(key) != nullptr) out_.note(from(key), fate, words);
}

void TuneTable::refuse_if_true(const std::string& key, const std::string& message) {
  if (flag(key).value_or(false)) refuse(key, message);
}

std::vector<std::string> TuneTable::unknown() const {
  std::vector<std::string> names;
  for (size_t i = 0; table_ != nullptr && i < table_->items.size(); ++i) {
    if (!asked_.contains(table_->items[i].key)) names.push_back(table_->items[i].key);
  }
  return names;
}

void TuneTable::refuse_unknown() const {
  for (const std::string& key : unknown()) {
    const std::string near = nearest(key, {asked_.begin(), asked_.end()});
    out_.refuse(from(key), "expected a known key, got " + from(key).name + (near.empty() ? "" : " (try " + near + ")"));
  }
}

}  // namespace millrace
