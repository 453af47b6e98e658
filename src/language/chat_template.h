// A model's own layout of conversations: text with the special tokens spelled out in it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tokenizers/byte_level_tokenizer.h"

namespace millrace {

struct RenderedChat {
  std::string text;
  std::vector<std::pair<size_t, size_t>> assistant;  // [begin, end) of each turn, end token included, header not
};

// Safe to use from many threads at once.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // arguments: {"messages": [...]} and what else the template knows ("tools", "date_string", ...). Throws DataError
  // naming place for messages that the template refuses.
  virtual std::string render(const nlohmann::ordered_json& arguments, bool add_generation_prompt,
                             const std::string& place) const = 0;
  // Nothing, but for templates that mark themselves what the assistant says ({% generation %}).
  virtual std::optional<RenderedChat> render_marked(const nlohmann::ordered_json& /*arguments*/,
                                                    const std::string& /*place*/) const {
    return std::nullopt;
  }
};

// The template of tokenizer_config.json or chat_template.jinja, in the folder `path` or beside the file `path`; where
// there is none, that of Llama 3.3 or ChatML, whichever special tokens the vocabulary has. Throws ModelError for a
// template beyond what is understood, and for a vocabulary of neither.
std::unique_ptr<ChatTemplate> load_chat_template(const std::filesystem::path& path,
                                                 const ByteLevelTokenizer& tokenizer);

// Llama 3.1 to 3.3, for which a date and tools may be given: "date_string" (26 Jul 2024), "tools",
// "tools_in_user_message".
std::unique_ptr<ChatTemplate> llama3_template();
// <|im_start|>role\ntext<|im_end|>\n, without a system message of its own.
std::unique_ptr<ChatTemplate> chatml_template();

}  // namespace millrace
