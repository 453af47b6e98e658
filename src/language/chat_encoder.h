// Ids and loss masks of conversations, in the layout that was asked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "language/chat_message.h"
#include "language/chat_template.h"
#include "language/llama3_tokens.h"
#include "language/torchtune_chat.h"

namespace millrace {

enum class ChatLayout {
  kTorchtune,  // torchtune_chat.h
  kTemplate,   // chat_template.h
  kMeta,       // meta_chat.h; nothing of it is trained
};

struct ChatEncoderOptions {
  ChatLayout layout = ChatLayout::kTorchtune;
  MaskingStrategy masking = MaskingStrategy::kAssistant;
  TorchtuneVersion version = TorchtuneVersion::kMain;
  TorchtuneChatOptions torchtune;  // max_length and truncation count for templates, too
};

// Safe to use from many threads at once.
class ChatEncoder {
 public:
  // path: of the tokenizer, where a template is looked for. Throws ModelError when tokenizer has no such layout.
  ChatEncoder(const ByteLevelTokenizer& tokenizer, const std::filesystem::path& path,
              const ChatEncoderOptions& options);

  // conversation: {"messages": [...]}, for templates with their arguments. Throws DataError naming place.
  ChatTokens encode(const nlohmann::ordered_json& conversation, const std::string& place) const;

 private:
  ChatTokens encode_template(const nlohmann::ordered_json& conversation, const std::string& place) const;

  const ByteLevelTokenizer& tokenizer_;
  ChatEncoderOptions options_;
  std::optional<Llama3Tokens> llama3_;
  std::unique_ptr<ChatTemplate> template_;
};

}  // namespace millrace
