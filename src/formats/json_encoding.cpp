#include "formats/json_encoding.h"

#include <cstdint>

namespace millrace {
namespace {

unsigned char byte_at(std::string_view text, size_t at) {
  return static_cast<unsigned char>(text[at]);
}

// A continuation byte of UTF-8.
bool continues(std::string_view text, size_t at) {
  return at < text.size() && (byte_at(text, at) & 0xC0) == 0x80;
}

// The length of the character in bytes; 0: it is not UTF-8. Surrogates are accepted (Unicode 15, table 3-7, without the
// exception for ED).
size_t character_bytes(std::string_view text, size_t at) {
  const unsigned char first = byte_at(text, at);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const size_t bytes = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  for (size_t i = 1; i < bytes; ++i) {
    if (!continues(text, at + i)) return 0;
  }
  const unsigned char second = byte_at(text, at + 1);
  const bool is_overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  return is_overlong || (first == 0xF4 && second > 0x8F) ? 0 : bytes;
}

bool is_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = character_bytes(text, at);
    if (bytes == 0) return false;
    at += bytes;
  }
  return true;
}

char32_t unit_at(std::string_view text, size_t at, size_t bytes, bool little_endian) {
  char32_t unit = 0;
  for (size_t i = 0; i < bytes; ++i) unit = unit << 8 | byte_at(text, at + (little_endian ? bytes - 1 - i : i));
  return unit;
}

bool from_utf16(std::string_view text, bool little_endian, std::string& out) {
  if (text.size() % 2 != 0) return false;
  for (size_t at = 0; at < text.size(); at += 2) {
    char32_t unit = unit_at(text, at, 2, little_endian);
    if (unit >= 0xD800 && unit < 0xDC00 && at + 4 <= text.size()) {
      const char32_t low = unit_at(text, at + 2, 2, little_endian);
      if (low >= 0xDC00 && low < 0xE000) {
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        at += 2;
      }
    }
    append_utf8(out, unit);
  }
  return true;
}

bool from_utf32(std::string_view text, bool little_endian, std::string& out) {
  if (text.size() % 4 != 0) return false;
  for (size_t at = 0; at < text.size(); at += 4) {
    const char32_t unit = unit_at(text, at, 4, little_endian);
    if (unit > 0x10FFFF) return false;
    append_utf8(out, unit);
  }
  return true;
}

struct Encoding {
  size_t unit_bytes;  // 1: UTF-8
  bool little_endian = false;
  size_t mark_bytes = 0;
};

// By the byte order mark, else by the zero bytes of the first characters, which are ASCII.
Encoding find_encoding(std::string_view text) {
  using namespace std::string_view_literals;
  if (text.starts_with("\0\0\xFE\xFF"sv)) return {4, false, 4};
  if (text.starts_with("\xFF\xFE\0\0"sv)) return {4, true, 4};
  if (text.starts_with("\xFE\xFF"sv)) return {2, false, 2};
  if (text.starts_with("\xFF\xFE"sv)) return {2, true, 2};
  if (text.starts_with("\xEF\xBB\xBF"sv)) return {1, false, 3};
  if (text.size() >= 4) {
    if (text[0] == 0) return text[1] != 0 ? Encoding{2, false} : Encoding{4, false};
    if (text[1] == 0) return text[2] != 0 || text[3] != 0 ? Encoding{2, true} : Encoding{4, true};
  } else if (text.size() == 2) {
    if (text[0] == 0) return {2, false};
    if (text[1] == 0) return {2, true};
  }
  return {1};
}

}  // namespace

void append_utf8(std::string& out, char32_t character) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (character < 0x80) return put(character);
  if (character < 0x800) {
    put(0xC0 | character >> 6);
  } else {
    if (character < 0x10000) {
      put(0xE0 | character >> 12);
    } else {
      put(0xF0 | character >> 18);
      put(0x80 | (character >> 12 & 0x3F));
    }
    put(0x80 | (character >> 6 & 0x3F));
  }
  put(0x80 | (character & 0x3F));
}

std::optional<std::string_view> json_as_utf8(std::string_view bytes, std::string& scratch) {
  const Encoding encoding = find_encoding(bytes);
  const std::string_view text = bytes.substr(encoding.mark_bytes);
  if (encoding.unit_bytes == 1) return is_utf8(text) ? std::optional(text) : std::nullopt;
  scratch.clear();
  const bool is_sound = encoding.unit_bytes == 2 ? from_utf16(text, encoding.little_endian, scratch)
                                                 : from_utf32(text, encoding.little_endian, scratch);
  return is_sound ? std::optional<std::string_view>(scratch) : std::nullopt;
}

}  // namespace millrace
