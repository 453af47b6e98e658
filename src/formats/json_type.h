// The type of a column of JSON values, inferred from its first values as in pyarrow.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace millrace {

struct JsonType {
  enum class Kind { kNull, kBool, kInt64, kFloat64, kString, kList, kStruct };
  Kind kind = Kind::kNull;
  std::vector<std::string> names;  // of a struct's fields, in order
  std::vector<JsonType> children;  // of a struct's fields, or the one of a list's items

  bool operator==(const JsonType&) const = default;
};

// Throws DataError naming place for lists whose items have no common type, whole numbers beyond int64 and text that is
// not UTF-8 (half a surrogate pair).
JsonType json_type_of(const nlohmann::ordered_json& value, std::string_view place);

// A common type: null yields to any type, structs get the fields of both. Throws DataError if there is none:
// int64 and float64 have none, as in pyarrow.
JsonType common_json_type(const JsonType& a, const JsonType& b, std::string_view place);

// Nesting depth of lists and structs; 0: a plain value.
size_t json_type_depth(const JsonType& type);
constexpr size_t kMaxJsonTypeDepth = 63;  // the limit of an Arrow file

// Throws DataError when value cannot be stored in a column of this type. Fields of a struct that the type lacks are
// dropped; whole numbers fit float64.
void check_json_fits(const nlohmann::ordered_json& value, const JsonType& type, std::string_view place);

// "int64", "list", "struct": for messages.
const char* json_kind_name(JsonType::Kind kind);

// How `datasets` describes the type: {"dtype": "int64", "_type": "Value"}, {"feature": ..., "_type": "List"} or an
// object.
nlohmann::ordered_json hf_feature(const JsonType& type);

}  // namespace millrace
