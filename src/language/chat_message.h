// One message of a conversation, and what a layout makes of a conversation.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace millrace {

struct ChatMessage {
  std::string role;                // system, user, assistant, ipython or tool
  std::vector<std::string> parts;  // text; a message of one string has one part
  bool masked = false;             // not trained
  bool ipython = false;            // an assistant's message that calls a tool
  bool eot = true;                 // ends the turn; false: a tool's answer follows

  std::string text() const;  // the parts joined
};

struct ChatTokens {
  std::vector<int32_t> ids;
  std::vector<bool> masked;  // as long as ids; true: not trained
};

// How a user asks for the model's own chat template, for hints: an option of `millrace tokenize`, and one of runs.
inline constexpr const char* kTokenizeTemplate = "--chat template";
inline constexpr const char* kRunTemplate = "finetune.chat_layout = \"template\"";

// {"role", "content" (a string, or a list of {"type": "text", "text" or "content"}), "ipython", "eot"}; `masked` is
// left false. Throws DataError naming place for another shape, an unknown role or text that is not UTF-8;
// for tool calls, which have no text, with the hint at a template.
ChatMessage chat_message_of(const nlohmann::ordered_json& message, std::string_view place,
                            const char* template_option = kTokenizeTemplate);

// Throws DataError naming place for a role other than the five.
void check_role(std::string_view role, std::string_view place);

}  // namespace millrace
