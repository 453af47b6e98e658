// Tool calls and tools' answers in rows of data, as messages of Llama 3's layout: a call is an assistant's message
// behind <|python_tag|> that ends with <|eom_id|>, an answer is a message of ipython.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "language/chat_message.h"

namespace millrace {

// The message of a turn with OpenAI's "tool_calls": its content, if it has one, and each call as {"name": ...,
// "parameters": ...}, which is how Llama 3.1 and later write it, several with "; " between them. nullopt: it has none.
// Throws DataError naming place for calls of another shape, arguments that are not JSON, and a role but assistant.
std::optional<ChatMessage> tool_call_of(const nlohmann::ordered_json& turn, const std::string& place);

// An answer of a tool (role tool or ipython) does not end the turn, nor does the assistant's message before it, which
// is then a call.
void mark_tool_turns(std::vector<ChatMessage>& messages);

// The message that "from" of a ShareGPT turn asks for, still without text: human, gpt and system, their other names
// user and assistant, function_call and tool_call, observation, tool, function_response and tool_response. nullopt:
// another.
std::optional<ChatMessage> share_gpt_message(const std::string& from);

}  // namespace millrace
