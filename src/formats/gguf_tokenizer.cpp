#include "formats/gguf_tokenizer.h"

#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "base/sentencepiece_json.h"
#include "base/text.h"
#include "formats/quote.h"

namespace millrace {
namespace {

using nlohmann::json;

// llama.cpp's names of the expressions that cut text into words, and those expressions as tokenizer.json has them.
constexpr const char* kLlama3Split =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]"
    "+|\\s+(?!\\S)|\\s+";
constexpr const char* kTekkenSplit =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?"
    "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kQwen2Split =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+";

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

json split_by(const char* expression) {
  return {{"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}, {"invert", false}};
}

json pre_tokenizer(std::string_view kind, const std::string& place) {
  json parts = json::array();
  if (kind == "smollm") {
    parts.push_back({{"type", "Digits"}, {"individual_digits", true}});
    parts.push_back(byte_level(/*use_regex=*/true));
  } else if (kind == "gpt-2") {
    parts.push_back(byte_level(/*use_regex=*/true));
  } else if (kind == "llama-bpe" || kind == "qwen2" || kind == "tekken") {
    parts.push_back(split_by(kind == "qwen2" ? kQwen2Split : kind == "tekken" ? kTekkenSplit : kLlama3Split));
    parts.push_back(byte_level(/*use_regex=*/false));
  } else {
    throw ModelError(str("[", place,
                         ", key tokenizer.ggml.pre] expected smollm, llama-bpe, qwen2, tekken or gpt-2, got ",
                         kind.empty() ? "none" : in_quotes(std::string(kind)),
                         " (try the model's tokenizer.json, as finetune.tokenizer)"));
  }
  return {{"type", "Sequence"}, {"pretokenizers", parts}};
}

[[noreturn]] void fail_type(std::string_view key, const std::string& place, const char* expected,
                            const GgufValue& got) {
  throw ModelError(str("[", place, ", key ", in_quotes(std::string(key)), "] expected ", expected, ", got ",
                       got.is_array ? "an array of " : "", gguf_type_name(got.type)));
}

void check_one_for_each(size_t count, const std::vector<std::string_view>& tokens, const char* key,
                        const std::string& place) {
  if (count == tokens.size()) return;
  throw ModelError(
      str("[", place, ", key ", key, "] expected ", tokens.size(), " numbers, one for each token, got ", count));
}

// Ids by token.
json vocabulary_of(const std::vector<std::string_view>& tokens, const std::string& place) {
  json vocabulary = json::object();
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string token(tokens[id]);
    if (!is_valid_utf8(token) || !vocabulary.emplace(token, id).second) {
      throw ModelError(str("[", place, ", key tokenizer.ggml.tokens] expected different tokens in UTF-8, got ",
                           in_quotes(token), " as number ", id));
    }
  }
  return vocabulary;
}

json merges_in(const GgufMetadata& metadata, const std::string& place) {
  json merges = json::array();
  const auto given = metadata.strings("tokenizer.ggml.merges");
  for (const std::string_view merge : given.value()) {
    if (!is_valid_utf8(merge)) {
      throw ModelError(str("[", place, ", key tokenizer.ggml.merges] expected UTF-8, got other bytes"));
    }
    merges.push_back(merge);
  }
  return merges;
}

// tokenizer.json without its added tokens.
json byte_level_json(json vocabulary, json merges, std::string_view kind, const std::string& place) {
  json file = {{"version", "1.0"}, {"post_processor", nullptr}};
  file["normalizer"] = kind == "qwen2" ? json{{"type", "NFC"}} : json();
  file["pre_tokenizer"] = pre_tokenizer(kind, place);
  file["decoder"] = byte_level(/*use_regex=*/true);
  file["model"] = {{"type", "BPE"}, {"ignore_merges", kind == "llama-bpe" || kind == "tekken"}};
  file["model"]["vocab"] = std::move(vocabulary);
  file["model"]["merges"] = std::move(merges);
  return file;
}

// SentencePiece's pieces that are made by joining others.
std::vector<ScoredPiece> ordinary_pieces(const GgufMetadata& metadata, const std::vector<std::string_view>& tokens,
                                         const std::vector<int64_t>& types, const std::string& place) {
  constexpr const char* kScores = "tokenizer.ggml.scores";
  const GgufValue& value = metadata.values().find(kScores)->second;
  if (!value.is_array || value.type != GgufType::kFloat32) fail_type(kScores, place, "an array of float32", value);
  check_one_for_each(value.count, tokens, kScores, place);
  std::vector<ScoredPiece> pieces;
  for (size_t id = 0; id < tokens.size(); ++id) {
    float score = 0;
    std::memcpy(&score, &value.bytes[id * sizeof(score)], sizeof(score));
    if (types[id] == GgufTokenType::kNormal) pieces.push_back({tokens[id], score});
  }
  return pieces;
}

// The tokens that text may spell out: control tokens, and those that the model's makers added.
json added_tokens(const std::vector<std::string_view>& tokens, const std::vector<int64_t>& types) {
  json added = json::array();
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] != GgufTokenType::kControl && types[id] != GgufTokenType::kUserDefined) continue;
    added.push_back({{"id", id},
                     {"content", tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", types[id] == GgufTokenType::kControl}});
  }
  return added;
}

// The token before every text.
json post_processor(const std::string& token, int64_t id) {
  const json special = {{"SpecialToken", {{"id", token}, {"type_id", 0}}}};
  const auto sequence = [](const char* name, int type) {
    return json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  return {{"type", "TemplateProcessing"},
          {"single", json::array({special, sequence("A", 0)})},
          {"pair", json::array({special, sequence("A", 0), sequence("B", 1)})},
          {"special_tokens", {{token, {{"id", token}, {"ids", json::array({id})}, {"tokens", json::array({token})}}}}}};
}

// Of so many bytes, little-endian.
int64_t integer_at(const std::byte* bytes, size_t size, bool is_signed) {
  uint64_t value = 0;
  std::memcpy(&value, bytes, size);
  const unsigned unused = 64 - 8 * static_cast<unsigned>(size);
  return is_signed ? static_cast<int64_t>(value << unused) >> unused : static_cast<int64_t>(value);
}

}  // namespace

std::optional<bool> gguf_boolean(const GgufMetadata& metadata, std::string_view key, const std::string& place) {
  const auto found = metadata.values().find(key);
  if (found == metadata.values().end()) return std::nullopt;
  const GgufValue& value = found->second;
  if (value.is_array || value.type != GgufType::kBool) fail_type(key, place, "true or false", value);
  return value.bytes[0] != std::byte{0};
}

std::optional<std::vector<int64_t>> gguf_integers(const GgufMetadata& metadata, std::string_view key,
                                                  const std::string& place) {
  const auto found = metadata.values().find(key);
  if (found == metadata.values().end()) return std::nullopt;
  const GgufValue& value = found->second;
  const bool is_signed = value.type == GgufType::kInt8 || value.type == GgufType::kInt16 ||
                         value.type == GgufType::kInt32 || value.type == GgufType::kInt64;
  const bool is_unsigned =
      value.type == GgufType::kUint8 || value.type == GgufType::kUint16 || value.type == GgufType::kUint32;
  if (!value.is_array || !(is_signed || is_unsigned)) fail_type(key, place, "an array of integers", value);
  std::vector<int64_t> integers(value.count);
  const size_t size = value.count == 0 ? 0 : value.bytes.size() / value.count;
  for (uint64_t i = 0; i < value.count; ++i) integers[i] = integer_at(&value.bytes[i * size], size, is_signed);
  return integers;
}

std::string gguf_split_name(const json& given) {
  json parts = json::array({given});
  if (given.is_object() && given.contains("pretokenizers")) parts = given["pretokenizers"];
  const std::string text = parts.dump();
  const auto has = [&](const char* type) { return text.find(str("\"type\":\"", type, "\"")) != std::string::npos; };
  const auto splits_by = [&](const char* expression) {
    return text.find(json(expression).dump()) != std::string::npos;
  };
  if (has("ByteLevel")) {
    if (has("Split") && !has("Digits")) {
      if (splits_by(kLlama3Split)) return "llama-bpe";
      if (splits_by(kQwen2Split)) return "qwen2";
      if (splits_by(kTekkenSplit)) return "tekken";
    } else if (!has("Split")) {
      return has("Digits") ? "smollm" : "gpt-2";
    }
  }
  throw ModelError(
      str("[tokenizer.json, pre_tokenizer] expected one that splits as SmolLM2, Llama 3, Qwen2, Mistral Nemo or "
          "GPT-2, got ",
          in_quotes(text.substr(0, 200))));
}

std::optional<GgufTokenizer> gguf_tokenizer(const GgufMetadata& metadata, const std::string& place) {
  const auto model = metadata.string("tokenizer.ggml.model");
  const auto tokens = metadata.strings("tokenizer.ggml.tokens");
  if (!model && !tokens) return std::nullopt;
  const bool on_bytes = model == "gpt2";
  const char* const needed = on_bytes ? "tokenizer.ggml.merges" : "tokenizer.ggml.scores";
  if ((!on_bytes && model != "llama") || !tokens || !metadata.values().contains(needed)) {
    throw ModelError(str("[", place,
                         "] expected a BPE vocabulary of bytes (tokenizer.ggml.model = gpt2, with merges) or of "
                         "SentencePiece (llama, with scores), got ",
                         in_quotes(std::string(model.value_or("none"))),
                         " (try the model's tokenizer.json, as finetune.tokenizer)"));
  }
  const std::vector<int64_t> types =
      gguf_integers(metadata, "tokenizer.ggml.token_type", place).value_or(std::vector<int64_t>(tokens->size(), 1));
  check_one_for_each(types.size(), *tokens, "tokenizer.ggml.token_type", place);
  GgufTokenizer result;
  const auto special = [&](const char* key, const char* name) {
    const auto id = metadata.integer(str("tokenizer.ggml.", key));
    if (!id) return;
    if (*id < 0 || *id >= static_cast<int64_t>(tokens->size())) {
      throw ModelError(str("[", place, ", key tokenizer.ggml.", key, "] expected a token's number, got ", *id));
    }
    result.config[name] = (*tokens)[static_cast<size_t>(*id)];
  };
  special("bos_token_id", "bos_token");
  special("eos_token_id", "eos_token");
  special("padding_token_id", "pad_token");
  special("unknown_token_id", "unk_token");
  if (const auto chat = metadata.string("tokenizer.chat_template")) result.config["chat_template"] = *chat;

  json& file = result.tokenizer;
  json vocabulary = vocabulary_of(*tokens, place), added = added_tokens(*tokens, types);
  const std::string_view kind = metadata.string("tokenizer.ggml.pre").value_or("");
  if (on_bytes) {
    file = byte_level_json(std::move(vocabulary), merges_in(metadata, place), kind, place);
    file["added_tokens"] = std::move(added);
  } else {
    const std::vector<ScoredPiece> pieces = ordinary_pieces(metadata, *tokens, types, place);
    const bool prefix = gguf_boolean(metadata, "tokenizer.ggml.add_space_prefix", place).value_or(true);
    file = sentencepiece_tokenizer_json(std::move(vocabulary), std::move(added), pieces, prefix);
  }
  const bool adds_bos =
      gguf_boolean(metadata, "tokenizer.ggml.add_bos_token", place).value_or(!on_bytes || kind == "llama-bpe");
  if (adds_bos && result.config.contains("bos_token")) {
    file["post_processor"] =
        post_processor(result.config["bos_token"], *metadata.integer("tokenizer.ggml.bos_token_id"));
  }
  return result;
}

}  // namespace millrace
