#include "language/jinja/value.h"

#include "base/python_float.h"

namespace millrace::jinja {

Value Value::none() {
  Value value;
  value.kind_ = Kind::kNone;
  return value;
}
Value Value::of(bool given) {
  Value value;
  value.kind_ = Kind::kBool;
  value.integer_ = given ? 1 : 0;
  return value;
}
Value Value::of(int64_t given) {
  Value value;
  value.kind_ = Kind::kInt;
  value.integer_ = given;
  return value;
}
Value Value::of(double given) {
  Value value;
  value.kind_ = Kind::kFloat;
  value.float_ = given;
  return value;
}
Value Value::of(std::string given) {
  Value value;
  value.kind_ = Kind::kString;
  value.string_ = std::make_shared<const std::string>(std::move(given));
  return value;
}
Value Value::of(List given) {
  Value value;
  value.kind_ = Kind::kList;
  value.list_ = std::make_shared<const List>(std::move(given));
  return value;
}
Value Value::of(Dict given) {
  Value value;
  value.kind_ = Kind::kDict;
  value.dict_ = std::make_shared<Dict>(std::move(given));
  return value;
}
Value Value::of(std::shared_ptr<const Macro> given) {
  Value value;
  value.kind_ = Kind::kMacro;
  value.macro_ = std::move(given);
  return value;
}

Value Value::of(const nlohmann::ordered_json& json) {
  switch (json.type()) {
    case nlohmann::json::value_t::boolean:
      return of(json.get<bool>());
    case nlohmann::json::value_t::number_integer:
    case nlohmann::json::value_t::number_unsigned:
      return of(json.get<int64_t>());
    case nlohmann::json::value_t::number_float:
      return of(json.get<double>());
    case nlohmann::json::value_t::string:
      return of(json.get<std::string>());
    case nlohmann::json::value_t::array: {
      List list;
      for (const auto& item : json) list.push_back(of(item));
      return of(std::move(list));
    }
    case nlohmann::json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items()) dict.emplace_back(key, of(item));
      return of(std::move(dict));
    }
    default:
      return none();
  }
}

bool Value::truthy() const {
  switch (kind_) {
    case Kind::kBool:
    case Kind::kInt:
      return integer_ != 0;
    case Kind::kFloat:
      return float_ != 0;
    case Kind::kString:
      return !string_->empty();
    case Kind::kList:
      return !list_->empty();
    case Kind::kDict:
      return !dict_->empty();
    case Kind::kMacro:
      return true;
    default:
      return false;
  }
}

const Value* Value::find(const std::string& key) const {
  for (const auto& [name, value] : *dict_) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::string Value::text() const {
  if (is(Kind::kUndefined)) return "";
  return is(Kind::kString) ? *string_ : repr();
}

std::string Value::repr() const {
  switch (kind_) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return integer_ != 0 ? "True" : "False";
    case Kind::kInt:
      return std::to_string(integer_);
    case Kind::kFloat:
      return python_float(float_);
    case Kind::kString: {
      const char quote =
          string_->find('\'') != std::string::npos && string_->find('"') == std::string::npos ? '"' : '\'';
      std::string text(1, quote);
      for (const char c : *string_) {
        if (c == '\\' || c == quote) text += '\\';
        if (c == '\n') {
          text += "\\n";
        } else if (c == '\t') {
          text += "\\t";
        } else if (c == '\r') {
          text += "\\r";
        } else {
          text += c;
        }
      }
      return text + quote;
    }
    case Kind::kList: {
      std::string text = "[";
      for (const Value& item : *list_) text += (text.size() > 1 ? ", " : "") + item.repr();
      return text + "]";
    }
    case Kind::kDict: {
      std::string text = "{";
      for (const auto& [key, item] : *dict_)
        text += (text.size() > 1 ? ", " : "") + of(key).repr() + ": " + item.repr();
      return text + "}";
    }
    default:
      return "Undefined";
  }
}

nlohmann::ordered_json Value::json() const {
  switch (kind_) {
    case Kind::kBool:
      return integer_ != 0;
    case Kind::kInt:
      return integer_;
    case Kind::kFloat:
      return float_;
    case Kind::kString:
      return *string_;
    case Kind::kList: {
      auto array = nlohmann::ordered_json::array();
      for (const Value& item : *list_) array.push_back(item.json());
      return array;
    }
    case Kind::kDict: {
      auto object = nlohmann::ordered_json::object();
      for (const auto& [key, item] : *dict_) object[key] = item.json();
      return object;
    }
    default:
      return nullptr;
  }
}

const char* Value::type_name() const {
  constexpr const char* names[] = {"undefined", "none",   "a truth value", "a number", "a number",
                                   "text",      "a list", "a dict",        "a macro"};
  return names[static_cast<size_t>(kind_)];
}

bool operator==(const Value& a, const Value& b) {
  using Kind = Value::Kind;
  if (a.is_number() && b.is_number()) {
    return a.is(Kind::kFloat) || b.is(Kind::kFloat) ? a.number() == b.number() : a.integer() == b.integer();
  }
  if (a.kind_ != b.kind_) return false;
  switch (a.kind_) {
    case Kind::kString:
      return *a.string_ == *b.string_;
    case Kind::kList:
      return *a.list_ == *b.list_;
    case Kind::kDict:
      if (a.dict_->size() != b.dict_->size()) return false;
      for (const auto& [key, value] : *a.dict_) {
        const Value* other = b.find(key);
        if (other == nullptr || !(*other == value)) return false;
      }
      return true;
    case Kind::kMacro:
      return a.macro_ == b.macro_;
    default:
      return true;
  }
}

}  // namespace millrace::jinja
