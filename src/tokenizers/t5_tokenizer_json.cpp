#include <array>
#include <set>

#include "base/log.h"
#include "tokenizers/t5_vocabulary.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

std::string decode_base64(const std::filesystem::path& path, std::string_view text) {
  static const std::array<int8_t, 256> digits = [] {
    std::array<int8_t, 256> table{};
    table.fill(-1);
    const std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < alphabet.size(); ++i)
      table[static_cast<unsigned char>(alphabet[i])] = static_cast<int8_t>(i);
    return table;
  }();
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    const int digit = digits[static_cast<unsigned char>(c)];
    if (digit < 0) fail_vocabulary(path, 0, "expected a character map in base64, got another character");
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes.push_back(static_cast<char>(bits >> count & 0xFF));
    }
  }
  return bytes;
}

// The first Precompiled normalizer, alone or in a Sequence.
std::string find_character_map(const std::filesystem::path& path, const nlohmann::json& normalizer) {
  if (!normalizer.is_object()) return {};
  const nlohmann::json type = normalizer.value("type", nlohmann::json());
  if (type == "Sequence" && normalizer.contains("normalizers")) {
    for (const auto& one : normalizer["normalizers"]) {
      std::string map = find_character_map(path, one);
      if (!map.empty()) return map;
    }
  }
  const auto map = normalizer.find("precompiled_charsmap");
  if (type != "Precompiled" || map == normalizer.end() || !map->is_string()) return {};
  return decode_base64(path, map->get_ref<const std::string&>());
}

// The kinds of the parts of a normalizer or a pre_tokenizer, which may be a Sequence of them.
std::set<std::string> types_in(const nlohmann::json& part, const char* list) {
  std::set<std::string> types;
  if (!part.is_object()) return types;
  const nlohmann::json type = part.value("type", nlohmann::json());
  if (type == "Sequence" && part.contains(list)) {
    for (const auto& one : part[list]) types.merge(types_in(one, list));
  } else if (type.is_string()) {
    types.insert(type.get<std::string>());
  }
  return types;
}

// T5's own files have WhitespaceSplit before Metaspace. With Metaspace alone every blank counts, unless a normalizer
// besides the character map takes the surplus ones away.
bool splits_at_whitespace(const nlohmann::json& file) {
  const std::set<std::string> splits = types_in(file.value("pre_tokenizer", nlohmann::json()), "pretokenizers");
  std::set<std::string> normalizers = types_in(file.value("normalizer", nlohmann::json()), "normalizers");
  normalizers.erase("Precompiled");
  return !normalizers.empty() || splits != std::set<std::string>{"Metaspace"};
}

}  // namespace

T5Vocabulary read_t5_tokenizer_json(const nlohmann::json& file, const std::filesystem::path& path) {
  T5Vocabulary vocabulary;
  vocabulary.path = path;
  const nlohmann::json& model = model_of(file);
  if (!model.is_object() || !model.contains("vocab") || !model["vocab"].is_array()) {
    fail_vocabulary(path, 0, "expected a Unigram model with a list \"vocab\", got none");
  }
  const nlohmann::json& pieces = model["vocab"];
  if (static_cast<int64_t>(pieces.size()) > kMaxVocabularySize) {
    fail_vocabulary(path, 0, str("expected at most ", kMaxVocabularySize, " pieces, got ", pieces.size()));
  }
  for (const auto& piece : pieces) {
    if (!piece.is_array() || piece.size() != 2 || !piece[0].is_string() || !piece[1].is_number()) {
      fail_vocabulary(path, 0, str("expected pieces [text, score], got ", piece.dump().substr(0, 80)));
    }
    vocabulary.pieces.push_back({piece[0].get<std::string>(), piece[1].get<double>()});
  }
  vocabulary.character_map = find_character_map(path, file.value("normalizer", nlohmann::json()));
  vocabulary.splits_at_whitespace = splits_at_whitespace(file);
  const nlohmann::json added = file.value("added_tokens", nlohmann::json::array());
  for (const auto& token : added) {
    const bool usable = token.is_object() && token.contains("content") && token["content"].is_string() &&
                        token.contains("id") && token["id"].is_number_integer();
    if (!usable)
      fail_vocabulary(path, 0,
                      str("expected added tokens with \"id\" and \"content\", got ", token.dump().substr(0, 80)));
    const auto id = token["id"].get<int64_t>();
    if (id < 0 || id >= kMaxVocabularySize) {
      fail_vocabulary(path, 0, str("expected an id below ", kMaxVocabularySize, " for an added token, got ", id));
    }
    const bool special = token.value("special", nlohmann::json(true)) == true;
    vocabulary.added_tokens.push_back({token["content"].get<std::string>(), static_cast<int32_t>(id), special});
  }
  return vocabulary;
}

}  // namespace millrace
