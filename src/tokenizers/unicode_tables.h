// The raw tables behind unicode.h, made by tools/make_unicode_tables.py.
#pragma once

#include <cstdint>
#include <span>

namespace millrace::unicode {

struct LowercaseRange {  // lower-cases every stride-th code point from first to last by adding delta
  uint32_t first;
  uint32_t last;
  int32_t stride;
  int32_t delta;
};
struct Decomposition {  // canonical, one step; Hangul syllables are computed
  uint32_t code_point;
  uint32_t first;
  uint32_t second;  // 0 when there is only one
  bool composes;    // first and second join to code_point again in NFC
};

// first code point << 8 | GraphemeClass << 4 | Category, up to the next entry's code point.
std::span<const uint32_t> class_ranges();
std::span<const LowercaseRange> lowercase_ranges();
std::span<const Decomposition> decompositions();
// code point << 8 | canonical combining class, for the non-zero ones.
std::span<const uint32_t> combining_classes();

}  // namespace millrace::unicode
