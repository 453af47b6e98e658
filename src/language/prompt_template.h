// Words around each message of a role, as torchtune's prompt templates put them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "language/chat_message.h"

namespace millrace {

struct PromptTemplate {
  struct Words {
    std::string before, behind;
    bool operator==(const Words&) const = default;
  };
  std::map<std::string, Words> of_role;  // roles that are not in it get no words
  // An assistant's empty message at the end gets no words behind it: it is an answer that is still to come.
  bool opens_empty_answers = false;

  bool operator==(const PromptTemplate&) const = default;
};

// text: "" for none; the name of one of torchtune's templates, chatml, grammar, summarize or question_answer; or JSON,
// {"user": ["words before", "words behind"], "assistant": ...}, of any of the roles. Throws ConfigError naming place.
PromptTemplate parse_prompt_template(std::string_view text, const std::string& place);

// The words become parts of their own, which torchtune's layout strips and encodes each by itself.
void add_prompt_words(const PromptTemplate& prompt_template, std::vector<ChatMessage>& messages);

}  // namespace millrace
