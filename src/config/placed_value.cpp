#include "config/placed_value.h"

#include "config/number_text.h"

namespace millrace {

const PlacedValue* PlacedValue::find(std::string_view name) const {
  for (const PlacedValue& item : items) {
    if (kind == Kind::kTable && item.key == name) return &item;
  }
  return nullptr;
}

std::string describe(const PlacedValue& value) {
  switch (value.kind) {
    case PlacedValue::Kind::kNull:
      return "null";
    case PlacedValue::Kind::kBool:
      return value.boolean ? "true" : "false";
    case PlacedValue::Kind::kInteger:
      return "the whole number " + std::to_string(value.integer);
    case PlacedValue::Kind::kFloat:
      return "the number " + number_text(value.floating);
    case PlacedValue::Kind::kText:
      return describe(TomlValue::of_text(value.text));
    case PlacedValue::Kind::kList:
      return "a list of " + std::to_string(value.items.size());
    case PlacedValue::Kind::kTable:
      return "a table";
    case PlacedValue::Kind::kOther:
      break;
  }
  return value.text;
}

}  // namespace millrace
