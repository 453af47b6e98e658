// Rows of data sets as people have them, and the conversations or texts that they hold: what torchtune's chat_dataset,
// instruct_dataset, alpaca_dataset and text_completion_dataset read.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "language/chat_message.h"
#include "language/torchtune_chat.h"

namespace millrace {

enum class RowStyle {
  kShareGpt,  // a list of {"from": system, human, gpt, function_call or observation, "value"}
  kOpenAi,    // a list of {"role", "content"}, or of an assistant {"tool_calls"} (tool_turns.h)
  kInstruct,  // "input" and "output"
  kAlpaca,    // "instruction", "input" (may be empty) and "output"
  kText,      // one text, all of it trained
};

struct RowFormat {
  RowStyle style = RowStyle::kOpenAi;
  std::string column;                          // of the conversation or the text; "": conversations, messages, text
  std::map<std::string, std::string> columns;  // what a column is called here: {"input": "question"}
  std::optional<std::string>
      new_system_prompt;  // in front, instead of the row's own system messages; not for Alpaca and text
  MaskingStrategy masking = MaskingStrategy::kAssistant;
  TorchtuneVersion version = TorchtuneVersion::kMain;
  bool operator==(const RowFormat&) const = default;
};

// The messages of a row with their masks, valid by validate_messages(). Not for kText.
// Throws DataError naming place for a column that is missing or of another type, an unknown role, text that is not
// UTF-8, an order of turns that torchtune refuses, and a conversation of which nothing is trained.
std::vector<ChatMessage> messages_of_row(const nlohmann::ordered_json& row, const RowFormat& format,
                                         const std::string& place);
std::string text_of_row(const nlohmann::ordered_json& row, const RowFormat& format, const std::string& place);

// Stanford Alpaca's prompt, which has a form for tasks without input.
std::string alpaca_prompt(const std::string& instruction, const std::string& input);

// At least two messages; a system message only in front; a user's never right behind another; an assistant's behind a
// user's or a tool's answer; a tool's answer behind a message that calls a tool (ipython), or another answer.
void validate_messages(std::span<const ChatMessage> messages, std::string_view place);

}  // namespace millrace
