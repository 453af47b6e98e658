#include "tokenizers/clip_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "base/log.h"
#include "base/text.h"
#include "tokenizers/unicode.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

using unicode::Category;

constexpr std::string_view kEndOfWord = "</w>";

int32_t required_id(const ClipVocabulary& vocabulary, std::string_view token) {
  const auto found = vocabulary.ids.find(std::string(token));
  if (found == vocabulary.ids.end()) {
    fail_vocabulary(vocabulary.path, 0, str("expected a CLIP vocabulary with the token \"", token, "\", got none"));
  }
  return found->second;
}

// Words are runs of one kind.
enum class Kind : uint8_t { kOther, kLetter, kNumber, kSpace };

struct Character {
  Kind kind;
  uint32_t length;
};

Kind kind_of(uint32_t code_point) {
  const Category category = unicode::category(code_point);
  if (unicode::is_letter(category)) return Kind::kLetter;
  if (category == Category::kNumber) return Kind::kNumber;
  return category == Category::kSpace ? Kind::kSpace : Kind::kOther;
}

Character character(std::string_view text, size_t at) {
  static const std::array<Kind, 128> ascii = [] {
    std::array<Kind, 128> table{};
    for (uint32_t c = 0; c < 128; ++c) table[c] = kind_of(c);
    return table;
  }();
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 128) return {ascii[byte], 1};
  const unicode::CodePoint c = unicode::decode(text, at);
  return {kind_of(c.value), c.length};
}

size_t contraction_length(std::string_view rest) {  // rest begins with '
  for (const std::string_view tail : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (starts_with(rest, tail)) return tail.size();
  }
  return 0;
}

}  // namespace

size_t clip_word_length(std::string_view text, size_t at, size_t* skip) {
  if (text[at] == '<') {
    for (const std::string_view token : {kClipBos, kClipEos}) {
      if (starts_with(text.substr(at), token)) return token.size();
    }
  }
  if (text[at] == '\'') {
    if (const size_t length = contraction_length(text.substr(at, 3))) return length;
  }
  const Character first = character(text, at);
  if (first.kind == Kind::kSpace) {
    *skip = first.length;
    return 0;
  }
  size_t end = at + first.length;
  if (first.kind == Kind::kNumber) return first.length;
  while (end < text.size()) {
    const Character next = character(text, end);
    if (next.kind != first.kind) break;
    end += next.length;
  }
  return end - at;
}

ClipTokenizer::ClipTokenizer(const ClipVocabulary& vocabulary) {
  const int32_t bos = required_id(vocabulary, kClipBos), eos = required_id(vocabulary, kClipEos);
  special_tokens_ = {bos, eos, required_id(vocabulary, vocabulary.pad_token), eos};

  for (const auto& [token, id] : vocabulary.ids) {
    if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<size_t>(id) + 1);
    tokens_[static_cast<size_t>(id)] = token;
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    const auto id_or_unknown = [&](const std::string& token) {
      const auto found = vocabulary.ids.find(token);
      return found == vocabulary.ids.end() ? eos : found->second;
    };
    byte_ids_[byte] = id_or_unknown(byte_symbols()[byte]);
    last_byte_ids_[byte] = id_or_unknown(byte_symbols()[byte] + std::string(kEndOfWord));
  }
  merges_.reserve(vocabulary.merges.size());
  for (const auto& merge : vocabulary.merges) {
    const auto id = [&](const std::string& token) {
      const auto found = vocabulary.ids.find(token);
      if (found == vocabulary.ids.end()) {
        fail_vocabulary(vocabulary.path, merge.line,
                        str("expected a merge of tokens in the vocabulary, got \"",
                            unicode::replace_invalid_utf8(token), "\", which is not in it"));
      }
      return found->second;
    };
    merges_.add_merge(id(merge.left), id(merge.right), id(merge.left + merge.right));
  }
  (vocabulary.bos_normalized ? normalized_tokens_ : raw_tokens_).add(std::string(kClipBos), bos);
  (vocabulary.eos_normalized ? normalized_tokens_ : raw_tokens_).add(std::string(kClipEos), eos);
  // A separate pad token ("!" in SDXL's second tokenizer) is also matched in the text.
  if (vocabulary.pad_token != kClipEos) raw_tokens_.add(vocabulary.pad_token, special_tokens_.pad);
}

void ClipTokenizer::append_ids(std::string_view text, std::vector<int32_t>& ids) const {
  std::vector<int32_t> scratch;
  split_at_tokens(
      raw_tokens_, text,
      [&](std::string_view piece) {
        const std::string normalized = unicode::to_lowercase(unicode::to_nfc(piece));
        split_at_tokens(
            normalized_tokens_, normalized, [&](std::string_view part) { append_words(part, ids, scratch); },
            [&](int32_t id) { ids.push_back(id); });
      },
      [&](int32_t id) { ids.push_back(id); });
}

void ClipTokenizer::append_words(std::string_view normalized, std::vector<int32_t>& ids,
                                 std::vector<int32_t>& scratch) const {
  for (size_t at = 0; at < normalized.size();) {
    size_t skip = 0;
    const size_t length = clip_word_length(normalized, at, &skip);
    if (length == 0) {
      at += skip;
      continue;
    }
    const std::string_view word = normalized.substr(at, length);
    if (word == kClipBos || word == kClipEos) {
      // Spelled in capitals it is a word, not a token, and the byte-level step behind the expression cuts it in three.
      append_word(word.substr(0, 2), ids, scratch);
      append_word(word.substr(2, length - 4), ids, scratch);
      append_word(word.substr(length - 2), ids, scratch);
    } else {
      append_word(word, ids, scratch);
    }
    at += length;
  }
}

void ClipTokenizer::append_word(std::string_view word, std::vector<int32_t>& ids, std::vector<int32_t>& scratch) const {
  if (cache_.lookup(word, ids)) return;
  scratch.clear();
  for (const char c : word) scratch.push_back(byte_ids_[static_cast<unsigned char>(c)]);
  scratch.back() = last_byte_ids_[static_cast<unsigned char>(word.back())];
  merges_.apply(scratch);
  cache_.remember(word, scratch);
  ids.insert(ids.end(), scratch.begin(), scratch.end());
}

std::string ClipTokenizer::decode(std::span<const int32_t> ids) const {
  static const auto& byte_of_symbol = *[] {
    auto* table = new std::unordered_map<std::string_view, char>;
    for (size_t byte = 0; byte < 256; ++byte) table->emplace(byte_symbols()[byte], static_cast<char>(byte));
    return table;
  }();
  std::string bytes;
  for (const int32_t id : ids) {
    const bool special = id == special_tokens_.bos || id == special_tokens_.eos || id == special_tokens_.pad;
    if (special || id < 0 || id >= vocabulary_size()) continue;
    const std::string& token = tokens_[static_cast<size_t>(id)];
    std::string piece;
    for (size_t i = 0; i < token.size();) {
      const uint32_t length = unicode::decode(token, i).length;
      const auto found = byte_of_symbol.find(std::string_view(token).substr(i, length));
      if (found == byte_of_symbol.end()) {  // not a byte-level token: used unchanged
        piece = token;
        break;
      }
      piece.push_back(found->second);
      i += length;
    }
    bytes += piece;
  }
  const std::string text = unicode::replace_invalid_utf8(bytes);
  std::string words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(kEndOfWord, at), text.size());
    words.append(text, at, end - at);
    if (end < text.size()) words.push_back(' ');
    at = end + kEndOfWord.size();
  }
  return std::string(unicode::python_strip(words));
}

}  // namespace millrace
