// ChatML, for vocabularies that have its tokens and come without a template of their own.
#include "base/error.h"
#include "base/log.h"
#include "language/chat_message.h"
#include "language/chat_template.h"

namespace millrace {
namespace {

class ChatMlTemplate : public ChatTemplate {
 public:
  std::string render(const nlohmann::ordered_json& arguments, bool add_generation_prompt,
                     const std::string& place) const override {
    std::string text;
    size_t number = 0;
    for (const auto& json : arguments.at("messages")) {
      const ChatMessage message = chat_message_of(json, str(place, ", message ", ++number));
      text += "<|im_start|>" + message.role + "\n" + message.text() + "<|im_end|>\n";
    }
    if (add_generation_prompt) text += "<|im_start|>assistant\n";
    return text;
  }
};

}  // namespace

std::unique_ptr<ChatTemplate> chatml_template() {
  return std::make_unique<ChatMlTemplate>();
}

}  // namespace millrace
