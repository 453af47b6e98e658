#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "language/jinja/builtins.h"
#include "language/jinja/syntax.h"
#include "tokenizers/unicode.h"

namespace millrace::jinja {
namespace {

using ValueKind = Value::Kind;

const std::vector<std::string>& method_names() {
  static const std::vector<std::string> names = {
      "strip",      "lstrip", "rstrip", "split",  "startswith", "endswith", "upper", "lower", "title", "replace",
      "capitalize", "items",  "keys",   "values", "get",        "find",     "count", "join",  "cycle"};
  return names;
}

const std::string& text_of(const Value& value) {
  if (!value.is(ValueKind::kString)) throw EvaluationError{"text as an argument", value.type_name()};
  return value.string();
}

std::string strip(const std::string& text, const Arguments& arguments, bool left, bool right) {
  const Value* set = arguments.find(0, "chars");
  if (set == nullptr || set->is(ValueKind::kNone)) {
    const std::string_view both = unicode::python_strip(text);
    const auto begin = both.empty() ? (left ? text.size() : 0) : static_cast<size_t>(both.data() - text.data());
    const size_t end = both.empty() ? begin : begin + both.size();
    return text.substr(left ? begin : 0, (right ? end : text.size()) - (left ? begin : 0));
  }
  const std::string& characters = text_of(*set);
  size_t begin = left ? std::min(text.find_first_not_of(characters), text.size()) : 0;
  size_t end = right ? text.find_last_not_of(characters) + 1 : text.size();
  return text.substr(begin, std::max(begin, end) - begin);
}

Value split_text(const std::string& text, const Arguments& arguments) {
  const Value* separator = arguments.find(0, "sep");
  const Value* most = arguments.find(1, "maxsplit");
  const int64_t limit = most != nullptr && most->is(ValueKind::kInt) ? most->integer() : -1;
  Value::List parts;
  if (separator == nullptr || separator->is(ValueKind::kNone)) {
    std::string word;
    for (size_t at = 0; at < text.size();) {
      const size_t length = unicode::decode(text, at).length;
      if (unicode::is_python_space(text, at)) {
        if (!word.empty()) parts.push_back(Value::of(std::move(word)));
        word.clear();
      } else {
        word += text.substr(at, length);
      }
      at += length;
    }
    if (!word.empty()) parts.push_back(Value::of(std::move(word)));
    return Value::of(std::move(parts));
  }
  const std::string& sign = text_of(*separator);
  if (sign.empty()) throw EvaluationError{"a separator to split at", "an empty one"};
  size_t at = 0;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t found = text.find(sign, at);
    if (found == std::string::npos) break;
    parts.push_back(Value::of(text.substr(at, found - at)));
    at = found + sign.size();
  }
  parts.push_back(Value::of(text.substr(at)));
  return Value::of(std::move(parts));
}

std::string replace(const std::string& text, const Arguments& arguments) {
  const Value* from = arguments.find(0, "old");
  const Value* to = arguments.find(1, "new");
  if (from == nullptr || to == nullptr || from->text().empty())
    throw EvaluationError{"replace(old, new)", "other arguments"};
  std::string result;
  size_t at = 0;
  while (true) {
    const size_t found = text.find(from->text(), at);
    if (found == std::string::npos) break;
    result += text.substr(at, found - at) + to->text();
    at = found + from->text().size();
  }
  return result + text.substr(at);
}

// Case is changed within ASCII; a template that changes the case of other letters is refused.
std::string change_case(const std::string& text, const std::string& how) {
  std::string result;
  bool start = true;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 128) throw EvaluationError{str("ASCII to ", how), "other letters"};
    const bool upper = how == "upper" || (start && (how == "title" || how == "capitalize"));
    const bool is_lower = c >= 'a' && c <= 'z', is_upper = c >= 'A' && c <= 'Z';
    result += upper && is_lower ? static_cast<char>(c - 32) : !upper && is_upper ? static_cast<char>(c + 32) : c;
    start = how == "title" && !is_lower && !is_upper;
  }
  return result;
}

Value text_method(const std::string& name, const std::string& text, const Arguments& arguments) {
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    return Value::of(strip(text, arguments, name != "rstrip", name != "lstrip"));
  }
  if (name == "split") return split_text(text, arguments);
  if (name == "replace") return Value::of(replace(text, arguments));
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize")
    return Value::of(change_case(text, name));
  const Value* first = arguments.find(0, "");
  if (first == nullptr) throw EvaluationError{str("an argument of ", name, "()"), "none"};
  if (name == "join") return apply_filter("join", *first, {{Value::of(text)}, {}});
  if (!first->is(ValueKind::kString))
    throw EvaluationError{str("text as the argument of ", name, "()"), first->type_name()};
  if (name == "startswith") return Value::of(starts_with(text, first->string()));
  if (name == "endswith") return Value::of(ends_with(text, first->string()));
  if (name == "find") {
    const size_t found = text.find(first->string());
    return Value::of(found == std::string::npos ? int64_t{-1} : length_of(Value::of(text.substr(0, found))));
  }
  if (name == "count" && !first->string().empty()) {
    return Value::of(static_cast<int64_t>(split_text(text, {{*first}, {}}).list().size()) - 1);
  }
  throw EvaluationError{"a method of text", name};
}

Value dict_method(const std::string& name, const Value& dict, const Arguments& arguments) {
  if (name == "items") return apply_filter("items", dict, {});
  if (name == "keys") return Value::of(items_of(dict));
  if (name == "values") {
    Value::List values;
    for (const auto& [key, value] : dict.dict()) values.push_back(value);
    return Value::of(std::move(values));
  }
  const Value* turn = name == "cycle" ? dict.find("index0") : nullptr;  // of a loop
  if (turn != nullptr && turn->is(ValueKind::kInt) && turn->integer() >= 0 && !arguments.positional.empty()) {
    return arguments.positional[static_cast<size_t>(turn->integer()) % arguments.positional.size()];
  }
  if (name == "get") {
    const Value* key = arguments.find(0, "key");
    const Value* otherwise = arguments.find(1, "default");
    const Value* found = key != nullptr && key->is(ValueKind::kString) ? dict.find(key->string()) : nullptr;
    return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value::none();
  }
  throw EvaluationError{"a method of a dict", name};
}

}  // namespace

bool is_known_method(const std::string& name) {
  return std::find(method_names().begin(), method_names().end(), name) != method_names().end();
}

Value call_method(const std::string& name, const Value& object, const Arguments& arguments) {
  if (object.is(ValueKind::kString)) return text_method(name, object.string(), arguments);
  if (object.is(ValueKind::kDict)) return dict_method(name, object, arguments);
  throw EvaluationError{str("text or a dict to call ", name, "() of"), object.type_name()};
}

}  // namespace millrace::jinja
