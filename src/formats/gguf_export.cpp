#include "formats/gguf_export.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/gguf_llama.h"
#include "formats/gguf_tokenizer.h"
#include "formats/quote.h"

namespace millrace {
namespace {

using nlohmann::json;

constexpr const char* kConfig = "the model's config.json";

uint32_t size_of(const json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || !found->is_number_integer() || *found < 0 || *found > INT32_MAX) {
    throw ModelError(
        str("[", kConfig, "] expected a size ", key, ", got ", found == config.end() ? "none" : found->dump()));
  }
  return found->get<uint32_t>();
}

json rope_of(const json& config) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto found = config.find(key);
    if (found != config.end() && found->is_object()) return *found;
  }
  return json::object();
}

std::string rope_type(const json& rope) {
  return rope.value("rope_type", rope.value("type", std::string("default")));
}

double rope_theta(const json& config) {
  return config.value("rope_theta", rope_of(config).value("rope_theta", 10000.0));
}

uint32_t head_dim(const json& config) {
  const auto found = config.find("head_dim");
  if (found != config.end() && found->is_number_integer()) return size_of(config, "head_dim");
  return size_of(config, "hidden_size") / std::max(size_of(config, "num_attention_heads"), 1u);
}

std::string content_of(const json& config, const char* key) {
  const auto found = config.is_object() ? config.find(key) : config.end();
  if (!config.is_object() || found == config.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  return found->is_object() ? found->value("content", std::string()) : "";
}

// Whether encoding puts a token before the text.
bool adds_first_token(const json& tokenizer) {
  const auto found = tokenizer.find("post_processor");
  return found != tokenizer.end() && found->dump().find("TemplateProcessing") != std::string::npos;
}

// "<0x0A>".
bool is_byte_token(const std::string& token) {
  constexpr size_t kLength = 6;
  return token.size() == kLength && starts_with(token, "<0x") && token.back() == '>' &&
         token.find_first_not_of("0123456789ABCDEF", 3) == kLength - 1;
}

// Of merges, which tokenizer.json has as "a b" or as ["a", "b"].
std::pair<std::string, std::string> parts_of(const json& merge) {
  if (merge.is_array()) return {merge.at(0).get<std::string>(), merge.at(1).get<std::string>()};
  const auto text = merge.get<std::string>();
  const size_t blank = text.find(' ');
  if (blank == std::string::npos) {
    throw ModelError(str("[tokenizer.json, merges] expected two tokens, got ", in_quotes(text)));
  }
  return {text.substr(0, blank), text.substr(blank + 1)};
}

// SentencePiece joins what makes the piece of the best score: the earlier merges make it, the better it is.
std::vector<float> scores_of(const json& merges, const std::map<std::string, uint32_t>& ids, size_t num_tokens) {
  std::vector<float> scores(num_tokens, 0);
  float score = 0;
  std::string last;
  for (const json& merge : merges) {
    const auto [left, right] = parts_of(merge);
    const std::string joined = left + right;
    if (joined == last) continue;
    last = joined;
    const auto found = ids.find(joined);
    if (found == ids.end() || scores[found->second] != 0) {
      throw ModelError(
          str("[tokenizer.json, merges] expected merges that make tokens, those of one token together, as "
              "SentencePiece's, got ",
              in_quotes(joined), found == ids.end() ? ", which is none" : " apart"));
    }
    scores[found->second] = --score;
  }
  for (float& each : scores) {
    if (each == 0) each = --score;  // of what is never made
  }
  return scores;
}

// Whether a blank is put before text.
bool adds_prefix(const json& tokenizer) {
  const std::string text =
      tokenizer.value("normalizer", json()).dump() + tokenizer.value("pre_tokenizer", json()).dump();
  const bool is_metaspace = text.find("\"Metaspace\"") != std::string::npos;
  return text.find("\"Prepend\"") != std::string::npos || (is_metaspace && text.find("\"never\"") == std::string::npos);
}

}  // namespace

std::string gguf_name(const std::string& name) {
  for (const GgufName& each : kGgufOuterNames) {
    if (name == each.hugging_face) return each.gguf;
  }
  constexpr std::string_view kLayers = "model.layers.";
  const size_t dot = name.find('.', kLayers.size());
  if (starts_with(name, kLayers) && dot != std::string::npos) {
    for (const GgufName& each : kGgufLayerNames) {
      if (name.substr(dot + 1) != str(each.hugging_face, ".weight")) continue;
      return "blk." + name.substr(kLayers.size(), dot - kLayers.size()) + "." + each.gguf + ".weight";
    }
  }
  throw ModelError(str("[", in_quotes(name),
                       "] expected a tensor of a Llama without biases, got one that GGUF's llama does "
                       "not have"));
}

void add_gguf_sizes(GgufKeys& keys, const json& config, const std::string& model_name, GgufStorage storage) {
  const std::string type = config.value("model_type", std::string("llama"));
  const bool has_window = config.contains("sliding_window") && config["sliding_window"].is_number();
  if (type != "llama" && !(type == "mistral" && !has_window)) {
    throw ModelError(str("[", kConfig,
                         "] expected the model_type llama, or mistral without a sliding window, for a GGUF "
                         "file, got ",
                         in_quotes(type)));
  }
  const std::string rope = rope_type(rope_of(config));
  if (rope != "default" && rope != "llama3") {
    throw ModelError(
        str("[", kConfig, "] expected plain rotary positions or llama3's for a GGUF file, got ", in_quotes(rope)));
  }
  constexpr uint32_t kAllF32 = 0, kMostlyF16 = 1, kMostlyQ8 = 7;
  keys.add("general.architecture", std::string_view("llama"));
  keys.add("general.name", std::string_view(model_name));
  keys.add("general.file_type", storage == GgufStorage::kF32   ? kAllF32
                                : storage == GgufStorage::kF16 ? kMostlyF16
                                                               : kMostlyQ8);
  keys.add("general.quantization_version", uint32_t{2});
  const uint32_t heads = size_of(config, "num_attention_heads");
  keys.add("llama.block_count", size_of(config, "num_hidden_layers"));
  keys.add("llama.context_length", size_of(config, "max_position_embeddings"));
  keys.add("llama.embedding_length", size_of(config, "hidden_size"));
  keys.add("llama.feed_forward_length", size_of(config, "intermediate_size"));
  keys.add("llama.attention.head_count", heads);
  keys.add("llama.attention.head_count_kv",
           config.contains("num_key_value_heads") ? size_of(config, "num_key_value_heads") : heads);
  keys.add("llama.attention.layer_norm_rms_epsilon", config.value("rms_norm_eps", 1e-6f));
  keys.add("llama.attention.key_length", head_dim(config));
  keys.add("llama.attention.value_length", head_dim(config));
  keys.add("llama.rope.dimension_count", head_dim(config));
  keys.add("llama.rope.freq_base", static_cast<float>(rope_theta(config)));
  keys.add("llama.vocab_size", size_of(config, "vocab_size"));
}

void add_gguf_tokenizer(GgufKeys& keys, const json& tokenizer, const json& config, const std::string& chat_template,
                        int64_t vocab_size) {
  using Type = GgufTokenType;
  const json& model = tokenizer.at("model");
  const bool on_bytes = !model.value("byte_fallback", false);
  std::vector<std::string> tokens(static_cast<size_t>(vocab_size));
  std::vector<int32_t> types(tokens.size(), Type::kUnused);
  std::map<std::string, uint32_t> ids;
  const auto put = [&](const std::string& token, const json& id, int32_t type) {
    if (!id.is_number_integer() || id < 0 || id >= vocab_size) {
      throw ModelError(str("[tokenizer.json] expected ids below the model's ", vocab_size, " tokens, got ", id.dump(),
                           " for ", in_quotes(token)));
    }
    tokens[id.get<size_t>()] = token;
    types[id.get<size_t>()] = type;
    ids[token] = id.get<uint32_t>();
  };
  for (const auto& [token, id] : model.at("vocab").items()) put(token, id, Type::kNormal);
  for (const json& added : tokenizer.value("added_tokens", json::array())) {
    put(added.at("content").get<std::string>(), added.at("id"),
        added.value("special", true) ? Type::kControl : Type::kUserDefined);
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] == Type::kUnused) tokens[id] = str("[PAD", id, "]");
  }
  if (on_bytes) {
    std::vector<std::string> merges;
    for (const json& merge : model.at("merges")) {
      const auto [left, right] = parts_of(merge);
      merges.push_back(left + " " + right);
    }
    keys.add("tokenizer.ggml.model", std::string_view("gpt2"));
    keys.add("tokenizer.ggml.pre", std::string_view(gguf_split_name(tokenizer.value("pre_tokenizer", json()))));
    keys.add("tokenizer.ggml.merges", merges);
  } else {
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (is_byte_token(tokens[id])) types[id] = Type::kByte;
    }
    const auto unknown = ids.find(content_of(model, "unk_token"));
    if (unknown != ids.end()) types[unknown->second] = Type::kUnknown;
    keys.add("tokenizer.ggml.model", std::string_view("llama"));
    keys.add("tokenizer.ggml.pre", std::string_view("default"));
    keys.add("tokenizer.ggml.scores", scores_of(model.at("merges"), ids, tokens.size()));
    keys.add("tokenizer.ggml.add_space_prefix", adds_prefix(tokenizer));
  }
  keys.add("tokenizer.ggml.tokens", tokens);
  keys.add("tokenizer.ggml.token_type", types);
  for (const auto& [theirs, ours] : {std::pair{"bos_token", "bos_token_id"},
                                     {"eos_token", "eos_token_id"},
                                     {"pad_token", "padding_token_id"},
                                     {"unk_token", "unknown_token_id"}}) {
    const auto found = ids.find(content_of(config, theirs));
    if (found != ids.end()) keys.add(str("tokenizer.ggml.", ours), found->second);
  }
  keys.add("tokenizer.ggml.add_bos_token", adds_first_token(tokenizer));
  const std::string own = content_of(config, "chat_template");
  if (!chat_template.empty() || !own.empty()) {
    keys.add("tokenizer.chat_template", std::string_view(chat_template.empty() ? own : chat_template));
  }
}

std::optional<std::vector<float>> gguf_rope_factors(const json& config) {
  const json rope = rope_of(config);
  if (rope_type(rope) != "llama3") return std::nullopt;
  GgufRopeScaling scaling;
  scaling.factor = rope.value("factor", scaling.factor);
  scaling.low_freq_factor = rope.value("low_freq_factor", scaling.low_freq_factor);
  scaling.high_freq_factor = rope.value("high_freq_factor", scaling.high_freq_factor);
  scaling.positions = rope.value("original_max_position_embeddings", scaling.positions);
  const std::vector<double> quotients = gguf_rope_quotients(scaling, rope_theta(config), head_dim(config));
  return std::vector<float>(quotients.begin(), quotients.end());
}

}  // namespace millrace
