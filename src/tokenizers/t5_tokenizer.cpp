#include "tokenizers/t5_tokenizer.h"

#include <algorithm>

#include "base/log.h"
#include "base/python_text.h"
#include "base/text.h"
#include "tokenizers/unicode.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, which stands for a blank before a word
constexpr int32_t kPadId = 0, kEosId = 1, kUnkId = 2;

}  // namespace

T5Tokenizer::T5Tokenizer(const T5Vocabulary& vocabulary)
    : character_map_(vocabulary.character_map.empty()
                         ? CharacterMap()
                         : CharacterMap(vocabulary.character_map, vocabulary.path.string())),
      splits_at_whitespace_(vocabulary.splits_at_whitespace),
      unigram_(kUnkId) {
  constexpr std::string_view kExpected[] = {"<pad>", "</s>", "<unk>"};
  for (size_t id = 0; id < 3; ++id) {
    const std::string got = id < vocabulary.pieces.size() ? vocabulary.pieces[id].text : "";
    if (got != kExpected[id]) {
      fail_vocabulary(vocabulary.path, 0,
                      str("expected T5's token \"", kExpected[id], "\" with id ", id, ", got \"",
                          unicode::replace_invalid_utf8(got.substr(0, 80)), "\""));
    }
  }
  for (const auto& piece : vocabulary.pieces) {
    if (!is_valid_utf8(piece.text)) {
      fail_vocabulary(vocabulary.path, 0, str("expected piece ", tokens_.size(), " in UTF-8, got something else"));
    }
    unigram_.add(piece.text, piece.score);
    tokens_.push_back(piece.text);
  }
  for (const auto& token : vocabulary.added_tokens) {
    if (!is_valid_utf8(token.content)) {
      fail_vocabulary(vocabulary.path, 0, str("expected added token ", token.id, " in UTF-8, got something else"));
    }
    const auto id = static_cast<size_t>(token.id);
    if (id >= tokens_.size()) tokens_.resize(id + 1);
    tokens_[id] = token.content;
    added_tokens_.add(token.content, token.id);
    if (token.special) special_ids_.insert(token.id);
  }
  special_tokens_ = {-1, kEosId, kPadId, kUnkId};
  for (const int32_t id : {kPadId, kEosId, kUnkId}) {
    added_tokens_.add(tokens_[static_cast<size_t>(id)], id);
    special_ids_.insert(id);
  }
}

void T5Tokenizer::append_ids(std::string_view text, std::vector<int32_t>& ids) const {
  split_at_tokens(
      added_tokens_, text, [&](std::string_view piece) { append_words(character_map_.apply(piece), ids); },
      [&](int32_t id) { ids.push_back(id); });
}

void T5Tokenizer::append_words(std::string_view normalized, std::vector<int32_t>& ids) const {
  std::string marked;
  if (!splits_at_whitespace_) {
    marked = replace_all(normalized, " ", kSpaceMark);
    if (!marked.empty() && !starts_with(marked, kSpaceMark)) marked.insert(0, kSpaceMark);
    append_marked(marked, ids);
    return;
  }
  for (size_t at = 0; at < normalized.size();) {
    const unicode::CodePoint first = unicode::decode(normalized, at);
    if (unicode::category(first.value) == unicode::Category::kSpace) {
      at += first.length;
      continue;
    }
    size_t end = at + first.length;
    while (end < normalized.size()) {
      const unicode::CodePoint next = unicode::decode(normalized, end);
      if (unicode::category(next.value) == unicode::Category::kSpace) break;
      end += next.length;
    }
    const std::string_view word = normalized.substr(at, end - at);
    marked.assign(starts_with(word, kSpaceMark) ? std::string_view() : kSpaceMark);
    marked += word;
    at = end;
    append_marked(marked, ids);  // a mark from the text also starts a word
  }
}

void T5Tokenizer::append_marked(std::string_view marked, std::vector<int32_t>& ids) const {
  for (size_t begin = 0; begin < marked.size();) {
    const size_t next = std::min(marked.find(kSpaceMark, begin + kSpaceMark.size()), marked.size());
    append_word(marked.substr(begin, next - begin), ids);
    begin = next;
  }
}

void T5Tokenizer::append_word(std::string_view word, std::vector<int32_t>& ids) const {
  if (cache_.lookup(word, ids)) return;
  const size_t first = ids.size();
  unigram_.append_ids(word, ids);
  cache_.remember(word, std::span<const int32_t>(ids).subspan(first));
}

std::string T5Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  bool first = true;
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocabulary_size() || special_ids_.count(id) != 0) continue;
    const std::string_view token = tokens_[static_cast<size_t>(id)];
    for (size_t at = 0; at < token.size();) {
      const size_t mark = std::min(token.find(kSpaceMark, at), token.size());
      text += token.substr(at, mark - at);
      if (mark < token.size() && !first) text.push_back(' ');
      at = mark + kSpaceMark.size();
    }
    first = false;
  }
  return text;
}

}  // namespace millrace
