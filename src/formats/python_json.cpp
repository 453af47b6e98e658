#include "formats/python_json.h"

#include <cmath>

#include "base/python_float.h"

namespace millrace {
namespace {

template <typename Json>
void append_text(const Json& text, PythonJsonStyle style, std::string& out) {
  const auto on_error = style.ensure_ascii ? Json::error_handler_t::replace : Json::error_handler_t::strict;
  out += text.dump(-1, ' ', style.ensure_ascii, on_error);
}

template <typename Json>
void append(const Json& value, PythonJsonStyle style, std::string& out) {
  if (value.is_number_float()) {
    const double number = value.template get<double>();
    out += std::isfinite(number) ? python_float(number) : "null";
  } else if (value.is_structured()) {
    out += value.is_object() ? '{' : '[';
    const char* separator = "";
    for (const auto& item : value.items()) {
      out += separator;
      separator = style.compact ? "," : ", ";
      if (value.is_object()) {
        append_text(Json(item.key()), style, out);
        out += style.compact ? ":" : ": ";
      }
      append(item.value(), style, out);
    }
    out += value.is_object() ? '}' : ']';
  } else {
    append_text(value, style, out);
  }
}

}  // namespace

template <typename Json>
std::string python_json(const Json& value, PythonJsonStyle style) {
  std::string text;
  append(value, style, text);
  return text;
}

template std::string python_json(const nlohmann::json& value, PythonJsonStyle style);
template std::string python_json(const nlohmann::ordered_json& value, PythonJsonStyle style);

}  // namespace millrace
