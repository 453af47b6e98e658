#include "tokenizers/byte_level_tokenizer.h"

#include <algorithm>

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

void check_utf8(std::string_view text) {
  if (is_valid_utf8(text)) return;
  throw DataError(str("[text, byte ", unicode::valid_utf8_prefix(text),
                      "] expected UTF-8, got an ill-formed sequence (try iconv to convert the text)"));
}

}  // namespace

ByteLevelTokenizer::ByteLevelTokenizer(ByteLevelVocabulary vocabulary)
    : tokens_(vocabulary.tokens),
      splits_(std::move(vocabulary.splits)),
      whole_words_first_(vocabulary.whole_words_first),
      nfc_(vocabulary.nfc),
      finds_added_tokens_(vocabulary.finds_added_tokens),
      cuts_long_text_(vocabulary.cuts_long_text) {
  for (size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_ids_[byte] = tokens_.find(std::string_view(&c, 1));
  }
  merges_.reserve(vocabulary.merges.size());
  for (const auto& merge : vocabulary.merges) {
    merges_.add_ranked_merge(merge.left, merge.right, merge.joined, merge.rank);
  }
  vocabulary_size_ = static_cast<int64_t>(tokens_.size());
  for (size_t i = 0; i < vocabulary.added.size(); ++i) {
    const AddedToken& token = vocabulary.added[i];
    added_.add(token.content, token.id);
    added_by_id_[token.id] = token.content;
    if (vocabulary.added_is_special[i]) special_ids_.push_back(token.id);
    vocabulary_size_ = std::max(vocabulary_size_, int64_t{token.id} + 1);
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
  const auto& tokens = added_.tokens();
  const auto found =
      std::find_if(tokens.begin(), tokens.end(), [&](const AddedToken& token) { return token.content == content; });
  if (found == tokens.end()) return std::nullopt;
  return found->id;
}

std::string_view ByteLevelTokenizer::bytes_of(int32_t id) const {
  const auto added = added_by_id_.find(id);
  if (added != added_by_id_.end()) return added->second;
  return id >= 0 && static_cast<size_t>(id) < tokens_.size() ? tokens_.token(id) : std::string_view();
}

std::string ByteLevelTokenizer::normalized(std::string_view text) const {
  return nfc_ ? unicode::to_nfc(text) : std::string(text);
}

std::vector<int32_t> ByteLevelTokenizer::encode_plain(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 2);
  append_plain(text, ids);
  return ids;
}

std::vector<int32_t> ByteLevelTokenizer::encode_with_tokens(std::string_view text) const {
  check_utf8(text);
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 2);
  split_at_tokens(
      added_, text, [&](std::string_view piece) { append_text(piece, ids); }, [&](int32_t id) { ids.push_back(id); });
  return ids;
}

void ByteLevelTokenizer::append_plain(std::string_view text, std::vector<int32_t>& ids) const {
  check_utf8(text);
  append_text(text, ids);
}

void ByteLevelTokenizer::append_ids(std::string_view text, std::vector<int32_t>& ids) const {
  if (!finds_added_tokens_) return append_text(text, ids);
  split_at_tokens(
      added_, text, [&](std::string_view piece) { append_text(piece, ids); }, [&](int32_t id) { ids.push_back(id); });
}

void ByteLevelTokenizer::append_text(std::string_view text, std::vector<int32_t>& ids) const {
  if (nfc_) {
    append_chunk(unicode::to_nfc(text), 0, ids);
  } else if (cuts_long_text_) {
    cut_long_text(text, [&](std::string_view chunk) { append_chunk(chunk, 0, ids); });
  } else {
    append_chunk(text, 0, ids);
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
  for (const char c : word) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id >= 0) symbols.push_back(id);  // a byte that the vocabulary lacks is left out, as in tokenizers
  }
  merges_.apply(symbols);
  cache_.remember(word, symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

std::string ByteLevelTokenizer::decode(std::span<const int32_t> ids) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!std::binary_search(special_ids_.begin(), special_ids_.end(), id)) bytes += bytes_of(id);
  }
  return unicode::replace_invalid_utf8(bytes);
}

}  // namespace millrace
