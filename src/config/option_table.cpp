#include "config/option_table.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <type_traits>

#include "base/log.h"
#include "base/text.h"
#include "config/number_text.h"

namespace millrace {
namespace {

using Kind = TomlValue::Kind;

template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

// Reads value as a T, or nullopt if it is not one.
std::optional<bool> read(const TomlValue& value, const bool*) {
  return value.kind == Kind::kBool ? std::optional(value.boolean) : std::nullopt;
}
std::optional<int64_t> read(const TomlValue& value, const int64_t*) {
  return value.kind == Kind::kInteger ? std::optional(value.integer) : std::nullopt;
}
std::optional<double> read(const TomlValue& value, const double*) {
  if (value.kind == Kind::kInteger) return static_cast<double>(value.integer);
  if (value.kind == Kind::kFloat && std::isfinite(value.floating)) return value.floating;
  return std::nullopt;
}
std::optional<std::string> read(const TomlValue& value, const std::string*) {
  return value.kind == Kind::kText ? std::optional(value.text) : std::nullopt;
}
// 200, 0.1 or "10%"; 1.0 might mean either, and is "100%".
std::optional<StepsOrPart> read(const TomlValue& value, const StepsOrPart*) {
  if (value.kind == Kind::kInteger) return StepsOrPart{.steps = value.integer};
  double part = value.kind == Kind::kFloat ? value.floating : -1;
  const bool is_percentage = value.kind == Kind::kText && ends_with(value.text, "%");
  if (is_percentage) part = parse_floating_point(value.text.substr(0, value.text.size() - 1)).value_or(-100) / 100;
  if (part == 0) return StepsOrPart{};
  if (part > 0 && (part < 1 || (is_percentage && part == 1))) return StepsOrPart{.part = part};
  return std::nullopt;
}
template <typename T>
std::optional<std::vector<T>> read(const TomlValue& value, const std::vector<T>*) {
  if (value.kind != Kind::kList) return std::nullopt;
  std::vector<T> items;
  for (const TomlValue& item : value.items) {
    const std::optional<T> converted = read(item, static_cast<const T*>(nullptr));
    if (!converted) return std::nullopt;
    items.push_back(*converted);
  }
  return items;
}

bool is_allowed(const OptionInfo& info, double number) {
  return number >= info.at_least && number <= info.at_most && number > info.above && number < info.below;
}
bool is_allowed(const OptionInfo&, bool) {
  return true;
}
bool is_allowed(const OptionInfo& info, int64_t number) {
  return is_allowed(info, static_cast<double>(number));
}
bool is_allowed(const OptionInfo& info, const StepsOrPart& steps) {
  return is_allowed(info, steps.steps);
}
bool is_allowed(const OptionInfo& info, const std::string& text) {
  if (!is_valid_utf8(text) || text.find('\0') != std::string::npos) return false;
  if (info.choices.empty()) return true;
  for (const char* choice : info.choices) {
    if (text == choice) return true;
  }
  return false;
}
template <typename T>
bool is_allowed(const OptionInfo& info, const std::vector<T>& items) {
  for (const T& item : items) {
    if (!is_allowed(info, item)) return false;
  }
  return true;
}

std::string text_of(bool value) {
  return value ? "true" : "false";
}
std::string text_of(int64_t value) {
  return std::to_string(value);
}
std::string text_of(double value) {
  return number_text(value);
}
std::string text_of(const StepsOrPart& value) {
  if (value.part == 1) return quote_toml("100%");
  return value.is_part() ? number_text(value.part) : std::to_string(value.steps);
}
std::string text_of(const std::string& value) {
  return quote_toml(value);
}
template <typename T>
std::string text_of(const std::vector<T>& items) {
  std::vector<std::string> texts;
  for (const T& item : items) texts.push_back(text_of(item));
  return "[" + join(texts, ", ") + "]";
}
template <typename T>
std::string text_of(const std::optional<T>& value) {
  return value ? text_of(*value) : "None";
}

std::string type_of(const bool*) {
  return "true or false";
}
std::string type_of(const int64_t*) {
  return "a whole number";
}
std::string type_of(const double*) {
  return "a number";
}
std::string type_of(const StepsOrPart*) {
  return "a whole number or a part of all";
}
std::string type_of(const std::string*) {
  return "a text";
}
std::string type_of(const std::vector<std::string>*) {
  return "a list of texts";
}
std::string type_of(const std::vector<int64_t>*) {
  return "a list of whole numbers";
}
template <typename T>
std::string type_of(const std::optional<T>*) {
  return type_of(static_cast<const T*>(nullptr)) + " or None";
}

std::string plain_number(double value) {
  return value == std::floor(value) && std::fabs(value) < 1e15 ? std::to_string(static_cast<int64_t>(value))
                                                               : number_text(value);
}

std::string expectation(const Option& option) {
  std::string text = option.info.choices.empty() ? type_name(option) : "";
  if (!text.empty() && *option.info.unit) text += str(" of ", option.info.unit);
  const std::string allowed = allowed_values(option);
  if (!text.empty() && !allowed.empty()) text += ", ";
  return text + allowed;
}

}  // namespace

std::vector<OptionSection> option_sections(RunConfig& config) {
  OptionCollector collector;
  config.describe(collector);
  return collector.take();
}

std::string type_name(const Option& option) {
  if (option.is_text() && *option.info.unit) return "a whole number or a word";
  return std::visit(Overloaded{[](auto* pointer) { return type_of(pointer); },
                               [](const ChoicePointer&) { return std::string("a text"); }},
                    option.member);
}

std::string allowed_values(const Option& option) {
  const OptionInfo& info = option.info;
  std::vector<std::string> parts;
  if (!info.choices.empty()) {
    std::vector<std::string> choices;
    for (const char* choice : info.choices) choices.push_back(*choice ? choice : "\"\"");
    return "one of " + join(choices, ", ");
  }
  if (std::isfinite(info.at_least)) parts.push_back("at least " + plain_number(info.at_least));
  if (std::isfinite(info.above)) parts.push_back("above " + plain_number(info.above));
  if (std::isfinite(info.at_most)) parts.push_back("at most " + plain_number(info.at_most));
  if (std::isfinite(info.below)) parts.push_back("below " + plain_number(info.below));
  return join(parts, " and ");
}

std::string value_text(const Option& option) {
  return std::visit(Overloaded{[](auto* pointer) { return text_of(*pointer); },
                               [&](const ChoicePointer& choice) {
                                 return quote_toml(option.info.choices[choice.get(choice.member)]);
                               }},
                    option.member);
}

std::string assign(const Option& option, const TomlValue& value) {
  if (value.kind == Kind::kNone && option.info.none_is_empty) return assign(option, TomlValue::of_text(""));
  // "auto", true or false: TOML's booleans stand for the texts.
  const bool names_truth = std::any_of(option.info.choices.begin(), option.info.choices.end(),
                                       [](const char* choice) { return std::string_view(choice) == "true"; });
  if (value.kind == Kind::kBool && names_truth) return assign(option, TomlValue::of_text(text_of(value.boolean)));
  // A text with a unit is a number or a word such as auto.
  if (value.kind == Kind::kInteger && option.is_text() && *option.info.unit) {
    return assign(option, TomlValue::of_text(text_of(value.integer)));
  }
  const auto assign_number_or_text = [&](auto* pointer) {
    using Member = std::remove_pointer_t<decltype(pointer)>;
    if constexpr (IsOptional<Member>::value) {
      if (value.kind == Kind::kNone) {
        pointer->reset();
        return true;
      }
      const auto converted = read(value, static_cast<const typename Member::value_type*>(nullptr));
      if (!converted || !is_allowed(option.info, *converted)) return false;
      *pointer = *converted;
    } else {
      const auto converted = read(value, static_cast<const Member*>(nullptr));
      if (!converted || !is_allowed(option.info, *converted)) return false;
      *pointer = *converted;
    }
    return true;
  };
  const auto assign_choice = [&](const ChoicePointer& choice) {
    const std::vector<const char*>& texts = option.info.choices;
    const auto found = std::find_if(texts.begin(), texts.end(), [&](const char* text) { return value.text == text; });
    if (value.kind != Kind::kText || found == texts.end()) return false;
    choice.set(choice.member, static_cast<size_t>(found - texts.begin()));
    return true;
  };
  const bool assigned = std::visit(Overloaded{assign_number_or_text, assign_choice}, option.member);
  if (assigned) return "";

  std::string problem = str("expected ", expectation(option), ", got ", describe(value));
  if (value.kind == Kind::kText) {
    if (!is_valid_utf8(value.text) || value.text.find('\0') != std::string::npos) {
      return "expected a text in UTF-8 without zero bytes";
    }
    const std::vector<std::string> choices(option.info.choices.begin(), option.info.choices.end());
    const std::string suggestion = nearest(value.text, choices);
    if (!suggestion.empty()) problem += " (try " + quote_toml(suggestion) + ")";
  }
  return problem;
}

// At commas, but not at those of "{0,8-12}".
std::vector<std::string> split_outside_braces(const std::string& text) {
  std::vector<std::string> items(1);
  int depth = 0;
  for (const char c : text) {
    depth += c == '{' ? 1 : c == '}' && depth > 0 ? -1 : 0;
    if (c == ',' && depth == 0) {
      items.emplace_back();
    } else {
      items.back() += c;
    }
  }
  return items;
}

TomlValue value_from_text(const Option& option, const std::string& text, const std::string& place) {
  if (text == "None" && option.accepts_none()) return {};
  if (option.is_list()) {
    if (starts_with(trim(text), "[")) return parse_toml_value(text, place);
    TomlValue list{.kind = Kind::kList};
    if (trim(text).empty()) return list;
    for (const std::string& item : split_outside_braces(text)) {
      TomlValue value = TomlValue::of_text(std::string(trim(item)));
      if (std::holds_alternative<std::vector<int64_t>*>(option.member)) {
        if (const auto number = parse_integer(value.text)) value = {.kind = Kind::kInteger, .integer = *number};
      }
      list.items.push_back(std::move(value));
    }
    return list;
  }
  if (option.is_text()) return TomlValue::of_text(text);
  if (option.is_flag()) {
    const std::string lower = to_lower(text);
    if (lower == "true" || lower == "false") return {.kind = Kind::kBool, .boolean = lower == "true"};
  } else if (const auto integer = parse_integer(text)) {
    return {.kind = Kind::kInteger, .integer = *integer};
  } else if (const auto number = parse_floating_point(text)) {
    return {.kind = Kind::kFloat, .floating = *number};
  }
  return TomlValue::of_text(text);
}

}  // namespace millrace
