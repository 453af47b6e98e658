#include "tasks/llama_finetune/tokenizer_fit.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/json.h"
#include "tasks/language_files.h"

namespace millrace {
namespace {

// One id, a list of them, or null.
std::vector<int64_t> ids_of(const nlohmann::json& config, const char* key) {
  std::vector<int64_t> ids;
  if (!config.is_object() || !config.contains(key)) return ids;
  const nlohmann::json& value = config[key];
  if (value.is_number_integer()) ids.push_back(value.get<int64_t>());
  for (size_t i = 0; value.is_array() && i < value.size(); ++i) {
    if (value[i].is_number_integer()) ids.push_back(value[i].get<int64_t>());
  }
  return ids;
}

}  // namespace

void check_tokenizer_fits(const LlamaRunConfig& config, const RowEncoder& encoder, int64_t vocab_size, bool warns) {
  const std::string place = config.tokenizer_path().string();
  const int64_t tokens = encoder.vocabulary_size();
  for (int64_t id = vocab_size; id < tokens; ++id) {
    if (encoder.is_special(static_cast<int32_t>(id))) continue;
    throw ModelError(str("[", place, "] expected the tokenizer of the model, whose vocabulary has ",
                         with_thousands(vocab_size), " tokens, got one of ", with_thousands(tokens),
                         " (try finetune.tokenizer with the one beside the weights)"));
  }
  const std::string sizes = language_config_json({.weights = config.checkpoint.initial_load_path,
                                                  .config = config.model.config,
                                                  .tokenizer = config.tokenizer_path()},
                                                 "{}");
  const auto json = parse_json<ModelError>(sizes, "the model's config.json");
  for (const auto& [key, does] : {std::pair{"bos_token_id", "begins"}, {"eos_token_id", "ends"}}) {
    for (const int64_t id : ids_of(json, key)) {
      if (id >= tokens) {
        throw ModelError(str("[", place, "] expected the tokenizer of the model, in which token ", id, " ", does,
                             " a text, got one of ", with_thousands(tokens),
                             " tokens (try finetune.tokenizer with the one ", "beside the weights)"));
      }
      const auto token = static_cast<int32_t>(id);
      if (!warns || id < 0 || encoder.is_special(token)) continue;
      log_warning("[", place, "] expected a special token as token ", id, ", which ", does,
                  " a text according to the model's config.json, got \"",
                  json_escape(encoder.spelling(std::vector<int32_t>{token})), "\": is it another model's tokenizer?");
    }
  }
}

}  // namespace millrace
