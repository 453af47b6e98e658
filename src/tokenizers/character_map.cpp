#include "tokenizers/character_map.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "tokenizers/unicode.h"

namespace millrace {
namespace {

// Units of a Darts-clone double array (Yata, 2011).
uint32_t label(uint32_t unit) {
  return unit & (uint32_t{1} << 31 | 0xFF);
}
uint32_t offset(uint32_t unit) {
  return (unit >> 10) << ((unit & uint32_t{1} << 9) >> 6);
}
bool has_leaf(uint32_t unit) {
  return (unit >> 8 & 1) != 0;
}

}  // namespace

CharacterMap::CharacterMap() {
  ascii_stays_.fill(true);
}

CharacterMap::CharacterMap(std::string_view blob, const std::string& place) {
  uint32_t trie_bytes = 0;
  if (blob.size() >= 4) std::memcpy(&trie_bytes, blob.data(), 4);
  if (blob.size() < 4 || trie_bytes % 4 != 0 || trie_bytes < 4 || trie_bytes > blob.size() - 4) {
    throw ModelError(str("[", place, "] expected a precompiled character map, got ", blob.size(),
                         " bytes whose trie does not fit in them"));
  }
  units_.resize(trie_bytes / 4);
  std::memcpy(units_.data(), blob.data() + 4, trie_bytes);
  replacements_ = blob.substr(4 + trie_bytes);
  if (!is_valid_utf8(replacements_)) {
    throw ModelError(str("[", place, "] expected replacements in UTF-8, got something else"));
  }
  for (unsigned char c = 0; c < 128; ++c) {
    const char text = static_cast<char>(c);
    std::string_view out;
    ascii_stays_[c] = !replacement({&text, 1}, &out);
  }
}

bool CharacterMap::replacement(std::string_view text, std::string_view* out) const {
  if (units_.empty()) return false;
  // Every index is checked: the array comes from a file.
  size_t node = offset(units_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return false;
    node ^= byte;
    if (node >= units_.size()) return false;
    const uint32_t unit = units_[node];
    if (label(unit) != byte) return false;
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) return false;
    const size_t begin = units_[node] & 0x7FFFFFFF;
    // A pointer into the middle of a character would break the text.
    if (begin > replacements_.size() ||
        (begin < replacements_.size() && (static_cast<unsigned char>(replacements_[begin]) & 0xC0) == 0x80)) {
      return false;
    }
    const size_t end = std::min(replacements_.find('\0', begin), replacements_.size());
    *out = std::string_view(replacements_).substr(begin, end - begin);
    return true;
  }
  return false;
}

std::string CharacterMap::apply(std::string_view text) const {
  const auto plain = [&](size_t i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    return byte < 128 && ascii_stays_[byte];
  };
  std::string out;
  out.reserve(text.size() + 8);
  for (size_t at = 0; at < text.size();) {
    // A plain ASCII character before another one is a separate grapheme (only CR LF join).
    if (plain(at) && (at + 1 == text.size() || (plain(at + 1) && text[at] != '\r'))) {
      out.push_back(text[at++]);
      continue;
    }
    const std::string_view grapheme = text.substr(at, unicode::grapheme_length(text, at));
    at += grapheme.size();
    std::string_view replaced;
    if (grapheme.size() < 6 && replacement(grapheme, &replaced)) {
      out += replaced;
      continue;
    }
    for (size_t i = 0; i < grapheme.size();) {
      const std::string_view one = grapheme.substr(i, unicode::decode(grapheme, i).length);
      out += replacement(one, &replaced) ? replaced : one;
      i += one.size();
    }
  }
  return out;
}

}  // namespace millrace
