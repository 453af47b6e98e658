// The parts of Unicode that the tokenizers need: UTF-8, letters and digits, NFC, lower case, graphemes.
//
// The tables are derived from the behaviour of Hugging Face's tokenizers library (tools/make_unicode_tables.py), so
// that ids agree for all characters, whichever Unicode version a system library has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::unicode {

// Unicode's general categories, as far as splitting expressions tell them apart: M and N whole, L by its parts. White
// space is what \s matches.
enum class Category : uint8_t {
  kOther,
  kNumber,
  kSpace,
  kMark,
  kUppercase,
  kLowercase,
  kTitlecase,
  kModifierLetter,
  kOtherLetter,
};
inline bool is_letter(Category category) {
  return category >= Category::kUppercase;
}

struct CodePoint {
  uint32_t value;
  uint32_t length;  // bytes
};

// Text must be valid UTF-8 (base/text.h, is_valid_utf8) and at < text.size().
inline CodePoint decode(std::string_view text, size_t at) {
  const auto byte = [&](size_t k) { return static_cast<uint32_t>(static_cast<unsigned char>(text[at + k])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}
void append_utf8(std::string& text, uint32_t code_point);
// Bytes before the first ill-formed sequence.
size_t valid_utf8_prefix(std::string_view text);
// Every ill-formed sequence becomes U+FFFD.
std::string replace_invalid_utf8(std::string_view text);

Category category(uint32_t code_point);

// As Python's str.isspace(), which also takes the separators U+001C to U+001F for white space. Text must be valid.
bool is_python_space(std::string_view text, size_t at);
// As Python's str.strip().
std::string_view python_strip(std::string_view text);

// Canonical composition (Unicode normalization form C).
std::string to_nfc(std::string_view text);
// Character by character, without context: no final sigma.
std::string to_lowercase(std::string_view text);

// Bytes of the extended grapheme cluster that starts at `at` (UAX #29, without the Indic conjunct rule).
size_t grapheme_length(std::string_view text, size_t at);

}  // namespace millrace::unicode
