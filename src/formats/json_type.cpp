#include "formats/json_type.h"

#include <algorithm>
#include <cstdint>

#include "base/error.h"
#include "base/log.h"
#include "formats/quote.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;
using Kind = JsonType::Kind;

[[noreturn]] void fail(std::string_view place, const std::string& expected, const std::string& got) {
  throw DataError(str("[", place, "] expected ", expected, ", got ", got));
}

// A value as shown in messages. Text that is not UTF-8 gets replacement characters.
std::string shown(const Json& value) {
  return in_quotes(value.dump(-1, ' ', false, Json::error_handler_t::replace), 60);
}

void check_text(const std::string& text, std::string_view place) {
  if (!is_valid_utf8(text)) fail(place, "text in UTF-8", "half a surrogate pair");
}

std::string field_place(std::string_view place, const std::string& name) {
  return str(place, ".", in_quotes(name, 60));
}

// Within one list whole numbers become floating-point ones, as in pyarrow.
JsonType item_type(const JsonType& a, const JsonType& b, std::string_view place) {
  const auto is_number = [](const JsonType& type) { return type.kind == Kind::kInt64 || type.kind == Kind::kFloat64; };
  if (is_number(a) && is_number(b) && a.kind != b.kind) return {Kind::kFloat64, {}, {}};
  return common_json_type(a, b, place);
}

}  // namespace

const char* json_kind_name(Kind kind) {
  static constexpr const char* kNames[] = {"null", "bool", "int64", "float64", "string", "list", "struct"};
  return kNames[static_cast<int>(kind)];
}

JsonType json_type_of(const Json& value, std::string_view place) {
  switch (value.type()) {
    case Json::value_t::null:
      return {};
    case Json::value_t::boolean:
      return {Kind::kBool, {}, {}};
    case Json::value_t::number_unsigned:
      if (value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
        fail(place, "whole numbers below 2^63", shown(value));
      return {Kind::kInt64, {}, {}};
    case Json::value_t::number_integer:
      return {Kind::kInt64, {}, {}};
    case Json::value_t::number_float:
      return {Kind::kFloat64, {}, {}};
    case Json::value_t::string:
      check_text(value.get_ref<const std::string&>(), place);
      return {Kind::kString, {}, {}};
    case Json::value_t::array: {
      JsonType item;
      for (const Json& entry : value) item = item_type(item, json_type_of(entry, place), place);
      return {Kind::kList, {}, {item}};
    }
    case Json::value_t::object: {
      JsonType type{Kind::kStruct, {}, {}};
      for (const auto& [name, entry] : value.items()) {
        check_text(name, place);
        type.names.push_back(name);
        type.children.push_back(json_type_of(entry, field_place(place, name)));
      }
      return type;
    }
    case Json::value_t::binary:
      fail(place, "whole numbers below 2^63", "a larger one");
    default:
      fail(place, "JSON", value.type_name());
  }
}

JsonType common_json_type(const JsonType& a, const JsonType& b, std::string_view place) {
  if (a.kind == Kind::kNull || a == b) return b;
  if (b.kind == Kind::kNull) return a;
  if (a.kind != b.kind) fail(place, str("values of one type, ", json_kind_name(a.kind)), json_kind_name(b.kind));
  if (a.kind == Kind::kList) return {Kind::kList, {}, {common_json_type(a.children[0], b.children[0], place)}};
  JsonType type = a;
  for (size_t i = 0; i < b.names.size(); ++i) {
    const auto found = std::find(type.names.begin(), type.names.end(), b.names[i]);
    if (found == type.names.end()) {
      type.names.push_back(b.names[i]);
      type.children.push_back(b.children[i]);
    } else {
      JsonType& child = type.children[static_cast<size_t>(found - type.names.begin())];
      child = common_json_type(child, b.children[i], field_place(place, b.names[i]));
    }
  }
  return type;
}

size_t json_type_depth(const JsonType& type) {
  size_t deepest = 0;
  for (const JsonType& child : type.children) deepest = std::max(deepest, json_type_depth(child));
  return deepest + (type.children.empty() && type.kind != Kind::kStruct ? 0 : 1);
}

void check_json_fits(const Json& value, const JsonType& type, std::string_view place) {
  if (value.is_null()) return;
  const bool fits = [&] {
    switch (type.kind) {
      case Kind::kNull:
        return false;
      case Kind::kBool:
        return value.is_boolean();
      case Kind::kInt64:
        return value.is_number_integer() &&
               (!value.is_number_unsigned() || value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
      case Kind::kFloat64:
        return value.is_number();
      case Kind::kString:
        return value.is_string();
      case Kind::kList:
        return value.is_array();
      case Kind::kStruct:
        return value.is_object();
    }
    return false;
  }();
  if (!fits) fail(place, str(json_kind_name(type.kind), " as in the first samples"), shown(value));
  if (value.is_string()) check_text(value.get_ref<const std::string&>(), place);
  if (type.kind == Kind::kList) {
    for (const Json& item : value) check_json_fits(item, type.children[0], place);
  } else if (type.kind == Kind::kStruct) {
    for (size_t i = 0; i < type.names.size(); ++i) {
      const auto field = value.find(type.names[i]);
      if (field != value.end()) check_json_fits(*field, type.children[i], field_place(place, type.names[i]));
    }
  }
}

Json hf_feature(const JsonType& type) {
  if (type.kind == Kind::kList) return {{"feature", hf_feature(type.children[0])}, {"_type", "List"}};
  if (type.kind != Kind::kStruct) return {{"dtype", json_kind_name(type.kind)}, {"_type", "Value"}};
  Json fields = Json::object();
  for (size_t i = 0; i < type.names.size(); ++i) fields[type.names[i]] = hf_feature(type.children[i]);
  return fields;
}

}  // namespace millrace
