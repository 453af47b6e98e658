#include "tokenizers/byte_level_tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "tokenizers/unicode.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

// torchtune and llama-models hand at most this many characters at a time to tiktoken, and cut runs of white space or of
// anything else that are longer. A cut may change the ids, so it is made where theirs is.
constexpr size_t kMaxCharacters = 400'000, kMaxRun = 25'000;

template <typename OnChunk>
void cut_long_text(std::string_view text, OnChunk on_chunk) {
  if (text.size() <= kMaxRun) return on_chunk(text);
  size_t begin = 0, characters = 0, run = 0;
  bool run_is_space = false;
  for (size_t at = 0; at < text.size();) {
    const bool space = unicode::is_python_space(text, at);
    if (characters == kMaxCharacters) {
      on_chunk(text.substr(begin, at - begin));
      begin = at;
      characters = run = 0;
    }
    if (run == 0 || space != run_is_space) {
      run = 1;
      run_is_space = space;
    } else if (++run > kMaxRun) {
      on_chunk(text.substr(begin, at - begin));
      begin = at;
      run = 1;
    }
    ++characters;
    at += unicode::decode(text, at).length;
  }
  if (begin < text.size()) on_chunk(text.substr(begin));
}

bool starts_with_blank(std::string_view text) {
  return starts_with(text, " ") || starts_with(text, kBlankMark);
}

void check_utf8(std::string_view text) {
  if (is_valid_utf8(text)) return;
  throw DataError(str("[text, byte ", unicode::valid_utf8_prefix(text),
                      "] expected UTF-8, got an ill-formed sequence (try iconv to convert the text)"));
}

}  // namespace

std::string with_blanks(std::string_view text) {
  std::string result;
  result.reserve(text.size() + 1);
  for (size_t at = 0; at < text.size();) {
    const size_t mark = std::min(text.find(kBlankMark, at), text.size());
    result += text.substr(at, mark - at);
    if (mark < text.size()) result += ' ';
    at = mark + kBlankMark.size();
  }
  return result;
}

ByteLevelTokenizer::ByteLevelTokenizer(ByteLevelVocabulary vocabulary)
    : tokens_(vocabulary.tokens),
      splits_(std::move(vocabulary.splits)),
      characters_(vocabulary.characters),
      // Without pre-tokenizer, a word is the text between added tokens.
      whole_words_first_(vocabulary.whole_words_first && (!characters_ || characters_->cuts_before_blanks)),
      whole_texts_first_(vocabulary.whole_words_first && !whole_words_first_),
      nfc_(vocabulary.nfc),
      finds_added_tokens_(vocabulary.finds_added_tokens),
      cuts_long_text_(vocabulary.cuts_long_text) {
  for (size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_ids_[byte] = characters_ ? characters_->byte_ids[byte] : tokens_.find(std::string_view(&c, 1));
  }
  merges_.reserve(vocabulary.merges.size());
  for (const auto& merge : vocabulary.merges) {
    merges_.add_ranked_merge(merge.left, merge.right, merge.joined, merge.rank);
    const std::string_view left = tokens_.token(merge.left), right = tokens_.token(merge.right);
    if (!ends_with(left, " ") && starts_with(right, " ")) merges_across_blanks_ = true;
  }
  vocabulary_size_ = static_cast<int64_t>(tokens_.size());
  for (ByteLevelVocabulary::Added token : vocabulary.added) {
    added_ids_[token.content] = token.id;
    if (token.special) special_ids_.push_back(token.id);
    vocabulary_size_ = std::max(vocabulary_size_, int64_t{token.id} + 1);
    if (token.normalized) token.content = normalized(token.content, false);
    added_ids_.try_emplace(token.content, token.id);
    bytes_by_id_[token.id] = token.content;
    (token.normalized ? normalized_added_ : added_).add(token);
  }
  for (size_t byte = 0; characters_ && byte < 256; ++byte) {
    bytes_by_id_[byte_ids_[byte]] = std::string(1, static_cast<char>(byte));
  }
  std::sort(special_ids_.begin(), special_ids_.end());
  const auto id_of = [&](const std::string& content) {
    if (content.empty()) return -1;
    if (const auto id = added_token(content)) return *id;
    const int32_t id = tokens_.find(content);
    if (id < 0) {
      fail_vocabulary(vocabulary.path, 0,
                      str("expected a vocabulary with the special token \"", content, "\", got none"));
    }
    return id;
  };
  special_tokens_ = {id_of(vocabulary.bos), id_of(vocabulary.eos), id_of(vocabulary.pad), -1};
  adds_bos_ = vocabulary.adds_bos;
  adds_eos_ = vocabulary.adds_eos;
}

std::optional<int32_t> ByteLevelTokenizer::added_token(std::string_view content) const {
  const auto found = added_ids_.find(std::string(content));
  if (found == added_ids_.end()) return std::nullopt;
  return found->second;
}

std::string_view ByteLevelTokenizer::bytes_of(int32_t id) const {
  const auto other = bytes_by_id_.find(id);
  if (other != bytes_by_id_.end()) return other->second;
  return id >= 0 && static_cast<size_t>(id) < tokens_.size() ? tokens_.token(id) : std::string_view();
}

std::vector<int32_t> ByteLevelTokenizer::encode_plain(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 2);
  append_plain(text, ids);
  return ids;
}

std::vector<int32_t> ByteLevelTokenizer::encode_with_tokens(std::string_view text, std::vector<size_t>* begins) const {
  check_utf8(text);
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 2);
  size_t end = 0;  // of what is encoded
  split_at_tokens(
      added_, text,
      [&](std::string_view piece) {
        const bool at_start = piece.data() == text.data();
        append_piece(piece, at_start, Tokens::kFound, ids);
        if (begins == nullptr) return;
        auto begin = static_cast<size_t>(piece.data() - text.data());
        end = begin + piece.size();
        size_t added = adds_blank(piece, at_start) ? 1 : 0;
        for (size_t i = begins->size(); i < ids.size(); ++i) {
          begins->push_back(begin);
          begin += bytes_of(ids[i]).size() - std::exchange(added, 0);
        }
      },
      [&](int32_t id) {
        ids.push_back(id);
        if (begins == nullptr) return;
        begins->push_back(end);
        end += bytes_of(id).size();
      });
  return ids;
}

void ByteLevelTokenizer::append_plain(std::string_view text, std::vector<int32_t>& ids) const {
  check_utf8(text);
  append_piece(text, true, Tokens::kText, ids);
}

void ByteLevelTokenizer::append_ids(std::string_view text, std::vector<int32_t>& ids) const {
  if (!finds_added_tokens_) return append_piece(text, true, Tokens::kText, ids);
  split_at_tokens(
      added_, text,
      [&](std::string_view piece) { append_piece(piece, piece.data() == text.data(), Tokens::kFound, ids); },
      [&](int32_t id) { ids.push_back(id); });
}

// Whether a blank comes before text, which stands at the start of everything or behind an added token.
bool ByteLevelTokenizer::adds_blank(std::string_view text, bool at_start) const {
  if (!characters_ || text.empty()) return false;
  if (!characters_->normalizes && starts_with_blank(text)) return false;
  return characters_->prefix == CharacterRules::Prefix::kEverywhere ||
         (characters_->prefix == CharacterRules::Prefix::kFirst && at_start);
}

std::string ByteLevelTokenizer::normalized(std::string_view text, bool at_start) const {
  if (nfc_) return unicode::to_nfc(text);
  if (!characters_ || !characters_->normalizes) return std::string(text);
  return (adds_blank(text, at_start) ? " " : "") + with_blanks(text);
}

// text has no token of added_ in it.
void ByteLevelTokenizer::append_piece(std::string_view text, bool at_start, Tokens tokens,
                                      std::vector<int32_t>& ids) const {
  std::string changed;
  if (nfc_ || (characters_ && characters_->normalizes)) {
    changed = normalized(text, at_start);
    text = changed;
  }
  if (tokens == Tokens::kText || normalized_added_.tokens().empty()) return append_text(text, at_start, ids);
  split_at_tokens(
      normalized_added_, text,
      [&](std::string_view piece) { append_text(piece, at_start && piece.data() == text.data(), ids); },
      [&](int32_t id) { ids.push_back(id); });
}

void ByteLevelTokenizer::append_text(std::string_view text, bool at_start, std::vector<int32_t>& ids) const {
  if (characters_) {
    append_spaced(text, at_start, ids);
  } else if (cuts_long_text_) {
    cut_long_text(text, [&](std::string_view chunk) { append_chunk(chunk, 0, ids); });
  } else {
    append_chunk(text, 0, ids);
  }
}

void ByteLevelTokenizer::append_spaced(std::string_view text, bool at_start, std::vector<int32_t>& ids) const {
  std::string changed;
  if (!characters_->normalizes) {
    changed = (adds_blank(text, at_start) ? " " : "") + with_blanks(text);
    text = changed;
  }
  if (whole_texts_first_) {
    if (const int32_t id = tokens_.find(text); id >= 0) return ids.push_back(id);
  }
  // Where nothing merges across the end of a word, words may be merged one by one, and remembered.
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    if (characters_->cuts_before_blanks) {
      end = text.find(' ', at + 1);
    } else if (merges_across_blanks_) {
      end = text.size();
    } else {
      end = text.find(' ', std::min(text.find_first_not_of(' ', at), text.size()));
    }
    end = std::min(end, text.size());
    append_word(text.substr(at, end - at), ids);
    at = end;
  }
}

void ByteLevelTokenizer::append_chunk(std::string_view text, size_t split, std::vector<int32_t>& ids) const {
  if (split == splits_.size()) {
    if (!text.empty()) append_word(text, ids);
    return;
  }
  const auto& [pattern, between_too] = splits_[split];
  if (split + 1 == splits_.size()) {
    // Some words ahead, so that what is remembered of them arrives in time.
    struct Ahead {
      std::string_view word;
      const WordCache::Entry* place;
    };
    std::array<Ahead, 16> words;
    size_t count = 0;
    const auto append_words = [&] {
      for (const Ahead& ahead : std::span(words).first(count)) {
        if (!cache_.lookup(ahead.word, ahead.place, ids)) append_new_word(ahead.word, ids);
      }
      count = 0;
    };
    split_by(pattern, text, between_too, [&](std::string_view word) {
      words[count++] = {word, cache_.place_of(word)};
      if (count == words.size()) append_words();
    });
    append_words();
  } else {
    split_by(pattern, text, between_too, [&](std::string_view piece) { append_chunk(piece, split + 1, ids); });
  }
}

void ByteLevelTokenizer::append_word(std::string_view word, std::vector<int32_t>& ids) const {
  if (!cache_.lookup(word, ids)) append_new_word(word, ids);
}

void ByteLevelTokenizer::append_new_word(std::string_view word, std::vector<int32_t>& ids) const {
  if (whole_words_first_) {
    if (const int32_t id = tokens_.find(word); id >= 0) {
      cache_.remember(word, {&id, 1});
      ids.push_back(id);
      return;
    }
  }
  thread_local std::vector<int32_t> symbols;
  symbols.clear();
  for (size_t at = 0; at < word.size();) {
    const size_t length = characters_ ? unicode::decode(word, at).length : 1;
    const std::string_view character = word.substr(at, length);
    at += length;
    if (const int32_t id = characters_ ? tokens_.find(character) : -1; id >= 0) {
      symbols.push_back(id);
      continue;
    }
    for (const char c : character) {
      const int32_t id = byte_ids_[static_cast<unsigned char>(c)];
      if (id >= 0) symbols.push_back(id);  // a byte that the vocabulary lacks is left out, as in tokenizers
    }
  }
  merges_.apply(symbols);
  cache_.remember(word, symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

std::string ByteLevelTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text = decode_behind(ids);
  if (characters_ && characters_->strips_first_blank && starts_with(text, " ")) text.erase(0, 1);
  return text;
}

std::string ByteLevelTokenizer::decode_behind(std::span<const int32_t> ids) const {
  std::string text, bytes;  // text is whole; of characters, bytes are those of a run of byte tokens
  const auto finish_bytes = [&] {
    if (!characters_) {
      text += unicode::replace_invalid_utf8(bytes);
    } else if (is_valid_utf8(bytes)) {
      text += bytes;
    } else {
      for (size_t i = 0; i < bytes.size(); ++i) unicode::append_utf8(text, 0xFFFD);
    }
    bytes.clear();
  };
  for (const int32_t id : ids) {
    if (std::binary_search(special_ids_.begin(), special_ids_.end(), id)) continue;
    const std::string_view token = bytes_of(id);
    if (!characters_ || (token.size() == 1 && byte_ids_[static_cast<unsigned char>(token[0])] == id)) {
      bytes += token;
    } else {
      finish_bytes();
      text += with_blanks(token);
    }
  }
  finish_bytes();
  return text;
}

}  // namespace millrace
