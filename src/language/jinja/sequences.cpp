// Indices, slices and loops over text, lists and dicts, with Python's rules. Text counts in code points.
#include <algorithm>

#include "base/log.h"
#include "language/jinja/builtins.h"
#include "tokenizers/unicode.h"

namespace millrace::jinja {
namespace {

using ValueKind = Value::Kind;

std::vector<std::string> characters_of(const std::string& text) {
  std::vector<std::string> all;
  for (size_t at = 0; at < text.size();) {
    const size_t length = unicode::decode(text, at).length;
    all.push_back(text.substr(at, length));
    at += length;
  }
  return all;
}

}  // namespace

int64_t length_of(const Value& value) {
  switch (value.kind()) {
    case ValueKind::kUndefined:
      return 0;
    case ValueKind::kString:
      return std::count_if(value.string().begin(), value.string().end(), [](char c) { return (c & 0xC0) != 0x80; });
    case ValueKind::kList:
      return static_cast<int64_t>(value.list().size());
    case ValueKind::kDict:
      return static_cast<int64_t>(value.dict().size());
    default:
      throw EvaluationError{"text, a list or a dict to take the length of", value.type_name()};
  }
}

std::vector<Value> items_of(const Value& value) {
  std::vector<Value> items;
  switch (value.kind()) {
    case ValueKind::kUndefined:
      return items;
    case ValueKind::kList:
      return value.list();
    case ValueKind::kDict:
      for (const auto& [key, item] : value.dict()) items.push_back(Value::of(key));
      return items;
    case ValueKind::kString:
      for (std::string& c : characters_of(value.string())) items.push_back(Value::of(std::move(c)));
      return items;
    default:
      throw EvaluationError{"a list, a dict or text to go through", value.type_name()};
  }
}

Value item_of(const Value& object, const Value& index) {
  if (object.is(ValueKind::kUndefined)) throw EvaluationError{"a value to look into", "an undefined one"};
  if (object.is(ValueKind::kDict)) {
    const Value* found = index.is(ValueKind::kString) ? object.find(index.string()) : nullptr;
    return found != nullptr ? *found : Value();
  }
  if (!index.is(ValueKind::kInt) || !(object.is(ValueKind::kList) || object.is(ValueKind::kString))) return Value();
  const std::vector<Value> items = items_of(object);
  const int64_t at = index.integer() < 0 ? index.integer() + static_cast<int64_t>(items.size()) : index.integer();
  return at >= 0 && at < static_cast<int64_t>(items.size()) ? items[static_cast<size_t>(at)] : Value();
}

Value slice_of(const Value& value, const Value& from, const Value& to, const Value& step) {
  if (!value.is(ValueKind::kList) && !value.is(ValueKind::kString))
    throw EvaluationError{"a list or text to cut", value.type_name()};
  const auto number = [](const Value& given, int64_t otherwise) {
    if (given.is(ValueKind::kUndefined) || given.is(ValueKind::kNone)) return otherwise;
    if (!given.is(ValueKind::kInt)) throw EvaluationError{"a whole number to cut at", given.type_name()};
    return given.integer();
  };
  const std::vector<Value> items = items_of(value);
  const auto size = static_cast<int64_t>(items.size());
  const int64_t stride = number(step, 1);
  if (stride == 0) throw EvaluationError{"a step other than 0", "0"};
  const auto clamp = [&](int64_t at) {
    if (at < 0) at += size;
    return stride > 0 ? std::clamp<int64_t>(at, 0, size) : std::clamp<int64_t>(at, -1, size - 1);
  };
  const int64_t begin = from.is(ValueKind::kInt) ? clamp(from.integer()) : stride > 0 ? 0 : size - 1;
  const int64_t end = to.is(ValueKind::kInt) ? clamp(to.integer()) : stride > 0 ? size : -1;
  number(from, 0), number(to, 0);  // of another type
  std::vector<Value> cut;
  for (int64_t at = begin; stride > 0 ? at < end : at > end; at += stride)
    cut.push_back(items[static_cast<size_t>(at)]);
  if (value.is(ValueKind::kList)) return Value::of(std::move(cut));
  std::string text;
  for (const Value& c : cut) text += c.string();
  return Value::of(std::move(text));
}

bool contains(const Value& container, const Value& item) {
  if (container.is(ValueKind::kString)) {
    if (!item.is(ValueKind::kString)) throw EvaluationError{"text to look for in text", item.type_name()};
    return container.string().find(item.string()) != std::string::npos;
  }
  if (container.is(ValueKind::kUndefined)) return false;
  const std::vector<Value> items = items_of(container);
  return std::find(items.begin(), items.end(), item) != items.end();
}

bool less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is(ValueKind::kFloat) || b.is(ValueKind::kFloat) ? a.number() < b.number() : a.integer() < b.integer();
  }
  if (a.is(ValueKind::kString) && b.is(ValueKind::kString)) return a.string() < b.string();
  throw EvaluationError{"two numbers or two texts to compare", str(a.type_name(), " and ", b.type_name())};
}

}  // namespace millrace::jinja
