#include "language/prompt_template.h"

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/json.h"

namespace millrace {
namespace {

// Those of torchtune.data.
const std::map<std::string, PromptTemplate, std::less<>>& named_templates() {
  static const std::map<std::string, PromptTemplate, std::less<>> kTemplates = {
      {"chatml",
       {.of_role = {{"system", {"<|im_start|>system\n", "<|im_end|>\n"}},
                    {"user", {"<|im_start|>user\n", "<|im_end|>\n"}},
                    {"assistant", {"<|im_start|>assistant\n", "<|im_end|>\n"}}},
        .opens_empty_answers = true}},
      {"grammar", {.of_role = {{"user", {"Correct this to standard English: ", "\n---\nCorrected: "}}}}},
      {"summarize", {.of_role = {{"user", {"Summarize this dialogue:\n", "\n---\nSummary:\n"}}}}},
      {"question_answer", {.of_role = {{"user", {"Question: ", "\n\nAnswer: "}}}}}};
  return kTemplates;
}

[[noreturn]] void refuse_template(const std::string& place, const std::string& expected, const std::string& got) {
  throw ConfigError(str("[", place, "] expected ", expected, ", got ", got));
}

// Null, as YAML may have it, is no words.
std::string words_of(const nlohmann::json& value, const std::string& role, const std::string& place) {
  if (value.is_null()) return "";
  if (!value.is_string()) refuse_template(place, "texts before and after the messages of " + role, value.dump());
  return value.get<std::string>();
}

}  // namespace

PromptTemplate parse_prompt_template(std::string_view text, const std::string& place) {
  if (trim(text).empty()) return {};
  if (!starts_with(trim(text), "{")) {
    const auto named = named_templates().find(text);
    if (named != named_templates().end()) return named->second;
    refuse_template(place, "{\"user\": [\"before\", \"behind\"]}, chatml, grammar, summarize or question_answer",
                    "\"" + json_escape(text) + "\"");
  }
  constexpr std::array kRoles = {"system", "user", "assistant", "ipython", "tool"};
  PromptTemplate result;
  const nlohmann::json roles = parse_json<ConfigError>(std::string(text), place);
  for (const auto& [role, words] : roles.items()) {
    if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
      refuse_template(place, "the roles system, user, assistant, ipython and tool", "\"" + json_escape(role) + "\"");
    }
    if (!words.is_array() || words.size() != 2) {
      refuse_template(place, "two texts, before and after the messages of " + role, words.dump());
    }
    result.of_role[role] = {words_of(words[0], role, place), words_of(words[1], role, place)};
  }
  return result;
}

void add_prompt_words(const PromptTemplate& prompt_template, std::vector<ChatMessage>& messages) {
  for (ChatMessage& message : messages) {
    const auto words = prompt_template.of_role.find(message.role);
    if (words == prompt_template.of_role.end()) continue;
    const bool is_open = prompt_template.opens_empty_answers && message.role == "assistant" &&
                         &message == &messages.back() && message.text().empty();
    const auto& [before, behind] = words->second;
    if (!before.empty()) message.parts.insert(message.parts.begin(), before);
    if (!behind.empty() && !is_open) message.parts.push_back(behind);
  }
}

}  // namespace millrace
