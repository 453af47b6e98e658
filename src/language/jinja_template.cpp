#include "language/jinja_template.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

// Text that is not UTF-8 must not get into a template, which counts characters.
void check_text(const nlohmann::ordered_json& value, const std::string& place) {
  if (value.is_string() && !is_valid_utf8(value.get_ref<const std::string&>())) {
    throw DataError(str("[", place, "] expected text in UTF-8, got half of a surrogate pair or other bytes"));
  }
  if (value.is_structured()) {
    for (const auto& item : value) check_text(item, place);
  }
}

// As transformers gives messages to templates: without the keys that are null, and with an answer's thoughts under
// each of the names that templates read.
nlohmann::ordered_json plain_messages(const nlohmann::ordered_json& messages) {
  if (!messages.is_array()) return messages;
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const auto& message : messages) {
    if (!message.is_object()) {
      all.push_back(message);
      continue;
    }
    nlohmann::ordered_json plain = nlohmann::ordered_json::object();
    for (const auto& [key, value] : message.items()) {
      if (!value.is_null()) plain[key] = value;
    }
    for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
      if (!plain.contains(name)) continue;
      const nlohmann::ordered_json thoughts = plain[name];
      if (!plain.contains("thinking")) plain["thinking"] = thoughts;
      plain["reasoning_content"] = thoughts;
      break;
    }
    all.push_back(std::move(plain));
  }
  return all;
}

}  // namespace

JinjaTemplate::JinjaTemplate(std::string_view source, std::vector<std::pair<std::string, std::string>> special_tokens,
                             const std::string& place)
    : block_(jinja::parse_template(source, place)),
      special_tokens_(std::move(special_tokens)),
      marks_(jinja::has_generation(block_)) {}

jinja::Rendered JinjaTemplate::run(const nlohmann::ordered_json& arguments, bool add_generation_prompt,
                                   const std::string& place) const {
  check_text(arguments, place);
  jinja::Value::Dict variables;
  for (const auto& [key, value] : arguments.items()) {
    variables.emplace_back(key, jinja::Value::of(key == "messages" ? plain_messages(value) : value));
  }
  const auto add = [&](const std::string& name, jinja::Value value) {
    if (!arguments.contains(name)) variables.emplace_back(name, std::move(value));
  };
  add("tools", jinja::Value::none());
  add("documents", jinja::Value::none());
  for (const auto& [name, content] : special_tokens_) add(name, jinja::Value::of(content));
  add("add_generation_prompt", jinja::Value::of(add_generation_prompt));
  return jinja::render(block_, variables, place);
}

std::string JinjaTemplate::render(const nlohmann::ordered_json& arguments, bool add_generation_prompt,
                                  const std::string& place) const {
  return run(arguments, add_generation_prompt, place).text;
}

std::optional<RenderedChat> JinjaTemplate::render_marked(const nlohmann::ordered_json& arguments,
                                                         const std::string& place) const {
  if (!marks_) return std::nullopt;
  jinja::Rendered rendered = run(arguments, false, place);
  return RenderedChat{std::move(rendered.text), std::move(rendered.generated)};
}

}  // namespace millrace
