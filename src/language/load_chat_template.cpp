#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "language/chat_template.h"
#include "language/jinja_template.h"
#include "language/llama3_tokens.h"
#include "language/model_tokenizer.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using UnorderedJson = nlohmann::json;

constexpr uint64_t kMaxTemplateBytes = uint64_t{1} << 20;

std::string content_of(const UnorderedJson& token) {
  if (token.is_string()) return token.get<std::string>();
  if (!token.is_object() || !token.contains("content") || !token["content"].is_string()) return "";
  return token["content"].get<std::string>();
}

// bos_token, eos_token, ... of tokenizer_config.json.
std::vector<std::pair<std::string, std::string>> special_tokens_of(const UnorderedJson& config) {
  std::vector<std::pair<std::string, std::string>> tokens;
  for (const char* name :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    if (config.contains(name) && !content_of(config[name]).empty()) tokens.emplace_back(name, content_of(config[name]));
  }
  return tokens;
}

// One template, or a list of named ones, of which the default counts.
std::string template_of(const UnorderedJson& config, const fs::path& path) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array()) {
    for (const UnorderedJson& one : *found) {
      if (one.is_object() && one.value("name", UnorderedJson()) == "default" && one.contains("template") &&
          one["template"].is_string()) {
        return one["template"].get<std::string>();
      }
    }
  }
  fail_vocabulary(path, 0, "expected chat_template to be text, or a list with one named default, got something else");
}

}  // namespace

std::unique_ptr<ChatTemplate> load_chat_template(const fs::path& path, const ByteLevelTokenizer& tokenizer) {
  const fs::path folder = fs::is_directory(path) ? path : path.parent_path();
  const fs::path config_path = folder / "tokenizer_config.json", template_path = folder / "chat_template.jinja";
  UnorderedJson config = UnorderedJson::object();
  if (const std::optional<GgufTokenizer> carried = carried_tokenizer(path)) {
    config = carried->config;
  } else if (fs::exists(config_path)) {
    config = read_vocabulary_json(config_path);
  }
  if (!config.is_object()) fail_vocabulary(config_path, 0, "expected a JSON object, got something else");
  if (fs::exists(template_path)) {
    return std::make_unique<JinjaTemplate>(read_file(template_path, kMaxTemplateBytes), special_tokens_of(config),
                                           template_path.string());
  }
  if (const std::string source = template_of(config, config_path); !source.empty()) {
    return std::make_unique<JinjaTemplate>(source, special_tokens_of(config), config_path.string() + ", chat_template");
  }
  if (Llama3Tokens::in(tokenizer)) return llama3_template();
  if (tokenizer.added_token("<|im_start|>") && tokenizer.added_token("<|im_end|>")) return chatml_template();
  throw ModelError(str("[", path.string(),
                       "] expected a chat_template in tokenizer_config.json, or the special tokens of Llama 3 or "
                       "ChatML, got neither"));
}

}  // namespace millrace
