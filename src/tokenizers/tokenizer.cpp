#include "tokenizers/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "tokenizers/unicode.h"

namespace millrace {

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  if (!is_valid_utf8(text)) {
    throw DataError(str("[text, byte ", unicode::valid_utf8_prefix(text),
                        "] expected UTF-8, got an ill-formed sequence (try iconv to convert the text)"));
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 2);
  if (adds_bos_ && special_tokens_.bos >= 0) ids.push_back(special_tokens_.bos);
  append_ids(text, ids);
  if (adds_eos_ && special_tokens_.eos >= 0) ids.push_back(special_tokens_.eos);
  return ids;
}

std::vector<int32_t> Tokenizer::encode_truncated(std::string_view text, int64_t max_length) const {
  const bool bos = adds_bos_ && special_tokens_.bos >= 0, eos = adds_eos_ && special_tokens_.eos >= 0;
  const int64_t around = (bos ? 1 : 0) + (eos ? 1 : 0);
  if (max_length < around) {
    throw ConfigError(
        str("[max length] expected at least ", around, " for the special tokens of ", name(), ", got ", max_length));
  }
  std::vector<int32_t> ids = encode(text);
  if (static_cast<int64_t>(ids.size()) > max_length) {
    ids.resize(static_cast<size_t>(max_length));
    if (eos) ids.back() = special_tokens_.eos;
  }
  return ids;
}

std::vector<int32_t> Tokenizer::encode_padded(std::string_view text, int64_t length) const {
  if (special_tokens_.pad < 0) {
    throw ConfigError(
        str("[padding] expected a tokenizer with a pad token, got ", name(), " without (try no padding)"));
  }
  std::vector<int32_t> ids = encode_truncated(text, length);
  ids.resize(static_cast<size_t>(length), special_tokens_.pad);
  return ids;
}

}  // namespace millrace
