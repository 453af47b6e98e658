// A hash of a few bytes, for tables that compare the bytes as well.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace millrace {

// Up to seven bytes as one number, by loads that overlap. Words of one length have one number each.
inline uint64_t few_bytes(const char* p, size_t n) {
  if (n >= 4) {
    uint32_t first, last;
    std::memcpy(&first, p, 4);
    std::memcpy(&last, p + n - 4, 4);
    return first | uint64_t{last} << 32;
  }
  if (n == 0) return 0;
  const auto byte = [&](size_t i) { return uint64_t{static_cast<unsigned char>(p[i])}; };
  return byte(0) | byte(n / 2) << 8 | byte(n - 1) << 16;
}

// Eight bytes at a time; the upper bits are the better mixed ones. seed: tells tables apart, and lengths.
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
  return (hash ^ few_bytes(word.data() + i, word.size() - i)) * kMultiplier;
}

// memcmp() == 0 for short words, without a call.
inline bool same_bytes(const char* a, const char* b, size_t n) {
  for (; n >= 8; a += 8, b += 8, n -= 8) {
    uint64_t left, right;
    std::memcpy(&left, a, 8);
    std::memcpy(&right, b, 8);
    if (left != right) return false;
  }
  return few_bytes(a, n) == few_bytes(b, n);
}

}  // namespace millrace
