#include "language/python_json_text.h"

#include "formats/python_json.h"

namespace millrace {
namespace {

using json = nlohmann::ordered_json;

void append(const json& value, int indent, int level, std::string& text) {
  if (!value.is_structured() || value.empty()) {
    text += python_json(value, {.ensure_ascii = false});
    return;
  }
  const auto new_line = [&](int depth) {
    text += '\n';
    text.append(static_cast<size_t>(indent) * static_cast<size_t>(depth), ' ');
  };
  text += value.is_object() ? '{' : '[';
  bool first = true;
  for (auto item = value.begin(); item != value.end(); ++item, first = false) {
    if (!first) text += ',';
    new_line(level + 1);
    if (value.is_object()) text += python_json(json(item.key()), {.ensure_ascii = false}) + ": ";
    append(*item, indent, level + 1, text);
  }
  new_line(level);
  text += value.is_object() ? '}' : ']';
}

}  // namespace

std::string python_json_text(const json& value, std::optional<int> indent) {
  if (!indent) return python_json(value, {.ensure_ascii = false});
  std::string text;
  append(value, *indent, 0, text);
  return text;
}

}  // namespace millrace
