#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "language/jinja/builtins.h"
#include "language/jinja/syntax.h"
#include "language/python_json_text.h"
#include "tokenizers/unicode.h"

namespace millrace::jinja {
namespace {

using ValueKind = Value::Kind;

const std::vector<std::string>& filter_names() {
  static const std::vector<std::string> names = {
      "trim",    "tojson",  "length", "count",  "join",       "list",       "items",      "upper",   "lower",
      "replace", "default", "d",      "string", "safe",       "first",      "last",       "reverse", "map",
      "select",  "reject",  "int",    "indent", "selectattr", "rejectattr", "capitalize", "title",   "unique"};
  return names;
}

const std::vector<std::string>& test_names() {
  static const std::vector<std::string> names = {"defined", "undefined",   "none",    "string",   "number",   "integer",
                                                 "float",   "boolean",     "mapping", "sequence", "iterable", "true",
                                                 "false",   "equalto",     "eq",      "ne",       "in",       "odd",
                                                 "even",    "divisibleby", "lt",      "gt",       "le",       "ge"};
  return names;
}

bool is_one_of(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string text_argument(const Arguments& arguments, size_t position, const char* name, const char* otherwise) {
  const Value* value = arguments.find(position, name);
  if (value == nullptr) return otherwise;
  return value->text();
}

Value to_json(const Value& value, const Arguments& arguments) {
  if (value.is(ValueKind::kUndefined)) throw EvaluationError{"a value to write as JSON", "an undefined one"};
  std::optional<int> indent;
  for (const auto& [name, given] : arguments.named) {
    const bool is_default = name == "ensure_ascii" && given.is(ValueKind::kBool) && !given.truthy();
    if (name != "indent" && !is_default) throw EvaluationError{"tojson with indent alone", name};
  }
  if (const Value* given = arguments.find(0, "indent"); given != nullptr && given->is(ValueKind::kInt)) {
    indent = static_cast<int>(std::clamp<int64_t>(given->integer(), 0, 64));
  }
  return Value::of(python_json_text(value.json(), indent));
}

// map('upper'), map(attribute='role'), selectattr('role', 'equalto', 'user'), select('string').
Value map_filter(const Value& value, const Arguments& arguments) {
  std::vector<Value> mapped;
  const Value* attribute = arguments.find(SIZE_MAX, "attribute");
  for (const Value& item : items_of(value)) {
    if (attribute != nullptr) {
      mapped.push_back(item_of(item, *attribute));
      continue;
    }
    if (arguments.positional.empty()) throw EvaluationError{"map with a filter or an attribute", "neither"};
    const std::string filter = arguments.positional[0].text();
    if (!is_known_filter(filter)) throw EvaluationError{"a filter that is known", filter};
    const Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
    mapped.push_back(apply_filter(filter, item, rest));
  }
  return Value::of(std::move(mapped));
}

Value select_filter(const Value& value, const Arguments& arguments, bool by_attribute, bool keep) {
  std::vector<Value> kept;
  const size_t first = by_attribute ? 1 : 0;
  if (arguments.positional.size() < first) throw EvaluationError{"the attribute to select by", "none"};
  for (const Value& item : items_of(value)) {
    const Value tested = by_attribute ? item_of(item, arguments.positional[0]) : item;
    bool passes = tested.truthy();
    if (arguments.positional.size() > first) {
      const std::string test = arguments.positional[first].text();
      const Arguments rest{
          {arguments.positional.begin() + static_cast<ptrdiff_t>(first) + 1, arguments.positional.end()}, {}};
      if (!is_known_test(test)) throw EvaluationError{"a test that is known", test};
      passes = apply_test(test, tested, rest);
    }
    if (passes == keep) kept.push_back(item);
  }
  return Value::of(std::move(kept));
}

Value unique(const Value& value) {
  std::vector<Value> kept;
  for (const Value& item : items_of(value)) {
    if (std::find(kept.begin(), kept.end(), item) == kept.end()) kept.push_back(item);
  }
  return Value::of(std::move(kept));
}

Value join_filter(const Value& value, const Arguments& arguments) {
  const std::string separator = text_argument(arguments, 0, "d", "");
  const Value* attribute = arguments.find(1, "attribute");
  std::string text;
  bool first = true;
  for (const Value& item : items_of(value)) {
    if (!first) text += separator;
    first = false;
    text += attribute != nullptr ? item_of(item, *attribute).text() : item.text();
  }
  return Value::of(std::move(text));
}

// Every line but the first begins with so many blanks; empty lines stay empty.
Value indent_filter(const Value& value, const Arguments& arguments) {
  const Value* width = arguments.find(0, "width");
  const std::string blanks(width != nullptr && width->is(ValueKind::kInt)
                               ? static_cast<size_t>(std::clamp<int64_t>(width->integer(), 0, 256))
                               : 4,
                           ' ');
  const bool first = arguments.find(1, "first") != nullptr && arguments.find(1, "first")->truthy();
  std::string text = first ? blanks : "";
  const std::string source = value.text();
  for (size_t i = 0; i < source.size(); ++i) {
    text += source[i];
    if (source[i] == '\n' && i + 1 < source.size() && source[i + 1] != '\n') text += blanks;
  }
  return Value::of(std::move(text));
}

Value items_filter(const Value& value) {
  if (value.is(ValueKind::kUndefined)) return Value::of(Value::List{});
  if (!value.is(ValueKind::kDict)) throw EvaluationError{"a dict to take the items of", value.type_name()};
  Value::List pairs;
  for (const auto& [key, item] : value.dict()) pairs.push_back(Value::of(Value::List{Value::of(key), item}));
  return Value::of(std::move(pairs));
}

}  // namespace

bool is_known_filter(const std::string& name) {
  return is_one_of(filter_names(), name);
}
bool is_known_test(const std::string& name) {
  return is_one_of(test_names(), name);
}

const Value* Arguments::find(size_t position, const char* name) const {
  if (position < positional.size()) return &positional[position];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments) {
  if (name == "trim") return call_method("strip", Value::of(value.text()), arguments);
  if (name == "tojson") return to_json(value, arguments);
  if (name == "length" || name == "count") return Value::of(length_of(value));
  if (name == "join") return join_filter(value, arguments);
  if (name == "list") return Value::of(items_of(value));
  if (name == "items") return items_filter(value);
  if (name == "string" || name == "safe") return Value::of(value.text());
  if (name == "default" || name == "d") {
    const Value* boolean = arguments.find(1, "boolean");
    const bool missing =
        value.is(ValueKind::kUndefined) || (boolean != nullptr && boolean->truthy() && !value.truthy());
    const Value* given = arguments.find(0, "default_value");
    return !missing ? value : given != nullptr ? *given : Value::of("");
  }
  if (name == "first" || name == "last") {
    const std::vector<Value> items = items_of(value);
    return items.empty() ? Value() : name == "first" ? items.front() : items.back();
  }
  if (name == "reverse") {
    const Value none;
    return slice_of(value, none, none, Value::of(int64_t{-1}));
  }
  if (name == "map") return map_filter(value, arguments);
  if (name == "select" || name == "reject") return select_filter(value, arguments, false, name == "select");
  if (name == "selectattr" || name == "rejectattr") return select_filter(value, arguments, true, name == "selectattr");
  if (name == "unique") return unique(value);
  if (name == "indent") return indent_filter(value, arguments);
  if (name == "int") {
    if (value.is_number())
      return Value::of(value.is(ValueKind::kFloat) ? static_cast<int64_t>(value.number()) : value.integer());
    return Value::of(static_cast<int64_t>(std::strtoll(value.text().c_str(), nullptr, 10)));
  }
  return call_method(name, Value::of(value.text()), arguments);  // upper, lower, title, capitalize, replace
}

bool apply_test(const std::string& name, const Value& value, const Arguments& arguments) {
  if (name == "defined") return !value.is(ValueKind::kUndefined);
  if (name == "undefined") return value.is(ValueKind::kUndefined);
  if (name == "none") return value.is(ValueKind::kNone);
  if (name == "string") return value.is(ValueKind::kString);
  if (name == "number") return value.is_number();
  if (name == "integer") return value.is(ValueKind::kInt);
  if (name == "float") return value.is(ValueKind::kFloat);
  if (name == "boolean") return value.is(ValueKind::kBool);
  if (name == "mapping") return value.is(ValueKind::kDict);
  const bool many = value.is(ValueKind::kString) || value.is(ValueKind::kList) || value.is(ValueKind::kDict);
  if (name == "sequence") return many || value.is(ValueKind::kUndefined);
  if (name == "iterable") return many || value.is(ValueKind::kUndefined);
  if (name == "true" || name == "false") return value.is(ValueKind::kBool) && value.truthy() == (name == "true");
  if (name == "odd" || name == "even") {
    if (!value.is(ValueKind::kInt)) throw EvaluationError{"a whole number", value.type_name()};
    return (value.integer() % 2 != 0) == (name == "odd");
  }
  if (arguments.positional.size() != 1) throw EvaluationError{str("one argument of the test ", name), "another number"};
  const Value& other = arguments.positional[0];
  if (name == "in") return contains(other, value);
  if (name == "ne") return !(value == other);
  if (name == "lt") return less(value, other);
  if (name == "gt") return less(other, value);
  if (name == "le") return !less(other, value);
  if (name == "ge") return !less(value, other);
  if (name == "divisibleby") {
    if (!value.is(ValueKind::kInt) || !other.is(ValueKind::kInt) || other.integer() == 0)
      throw EvaluationError{"whole numbers", "others"};
    return value.integer() % other.integer() == 0;
  }
  return value == other;  // equalto, eq
}

}  // namespace millrace::jinja
