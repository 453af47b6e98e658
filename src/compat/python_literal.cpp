#include "compat/python_literal.h"

#include "base/python_float.h"
#include "base/text.h"
#include "config/number_text.h"

namespace millrace {
namespace {

using LiteralKind = PythonLiteral::Kind;

// Parts between commas that are not within brackets or quotes; one behind the last comma may be empty.
std::vector<std::string> parts_of(std::string_view text) {
  std::vector<std::string> parts(1);
  int depth = 0;
  char quote = 0;
  for (const char c : text) {
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '(' || c == '[') {
      ++depth;
    } else if (c == ')' || c == ']') {
      --depth;
    }
    if (c == ',' && depth == 0 && quote == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::optional<PythonLiteral> parse(std::string_view text, int depth);

std::optional<PythonLiteral> parse_tuple(const std::vector<std::string>& parts, int depth) {
  PythonLiteral tuple{.kind = LiteralKind::kTuple};
  for (size_t i = 0; i < parts.size(); ++i) {
    if (trim(parts[i]).empty() && i + 1 == parts.size()) break;
    const std::optional<PythonLiteral> item = parse(parts[i], depth + 1);
    if (!item) return std::nullopt;
    tuple.items.push_back(*item);
  }
  return tuple;
}

std::optional<PythonLiteral> parse(std::string_view text, int depth) {
  text = trim(text);
  if (depth > 8 || text.empty()) return std::nullopt;
  const std::vector<std::string> parts = parts_of(text);
  if (parts.size() > 1) return parse_tuple(parts, depth);
  const char first = text.front(), last = text.back();
  if ((first == '(' && last == ')') || (first == '[' && last == ']')) {
    const std::string_view inner = text.substr(1, text.size() - 2);
    const std::vector<std::string> inner_parts = parts_of(inner);
    if (first == '(' && inner_parts.size() == 1 && !trim(inner).empty()) return parse(inner, depth + 1);
    std::optional<PythonLiteral> items = parse_tuple(inner_parts, depth);
    if (items) items->is_list = first == '[';
    return items;
  }
  if (text.size() >= 2 && (first == '\'' || first == '"') && last == first) {
    return PythonLiteral{.kind = LiteralKind::kText, .text = std::string(text.substr(1, text.size() - 2))};
  }
  if (text == "None") return PythonLiteral{};
  if (text == "True" || text == "False") return PythonLiteral{.kind = LiteralKind::kBool, .boolean = text == "True"};
  if (const auto number = parse_floating_point(text)) {
    return PythonLiteral{.kind = LiteralKind::kNumber, .number = *number, .whole = parse_integer(text)};
  }
  return std::nullopt;
}

}  // namespace

std::optional<PythonLiteral> parse_python_literal(const std::string& text) {
  return parse(text, 0);
}

PythonArgument parse_python_argument(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return {text, std::nullopt};
  return {text.substr(0, equals), parse_python_literal(text.substr(equals + 1))};
}

std::string python_text(const PythonLiteral& value) {
  switch (value.kind) {
    case LiteralKind::kNone:
      return "None";
    case LiteralKind::kBool:
      return value.boolean ? "True" : "False";
    case LiteralKind::kNumber:
      return value.whole ? std::to_string(*value.whole) : python_float(value.number);
    case LiteralKind::kText:
      return value.text;
    case LiteralKind::kTuple:
      break;
  }
  std::vector<std::string> items;
  for (const PythonLiteral& item : value.items) {
    items.push_back(item.kind == LiteralKind::kText ? "'" + item.text + "'" : python_text(item));
  }
  if (value.is_list) return "[" + join(items, ", ") + "]";
  return "(" + join(items, ", ") + (items.size() == 1 ? ",)" : ")");
}

}  // namespace millrace
