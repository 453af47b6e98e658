// A hash of a few bytes, for tables that compare the bytes as well.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace millrace {

// Eight bytes at a time; the upper bits are the better mixed ones. seed: tells tables apart.
inline uint64_t word_hash(std::string_view word, uint64_t seed) {
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15u;
  uint64_t hash = seed;
  size_t i = 0;
  for (; i + 8 <= word.size(); i += 8) {
    uint64_t part;
    std::memcpy(&part, word.data() + i, 8);
    hash = (hash ^ part) * kMultiplier;
    hash ^= hash >> 32;
  }
  uint64_t rest = 0;
  for (; i < word.size(); ++i) rest = rest << 8 | static_cast<unsigned char>(word[i]);
  return (hash ^ rest) * kMultiplier;
}

}  // namespace millrace
