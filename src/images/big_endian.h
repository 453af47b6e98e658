// Numbers in files, most significant byte first (internal to images/).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace millrace {

// Reads that many bytes of text from `at` on, which must exist.
inline uint32_t big_endian(std::string_view text, size_t at, size_t bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<unsigned char>(text[at + i]);
  return value;
}

}  // namespace millrace
