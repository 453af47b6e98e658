#include "tokenizers/unicode.h"

#include <algorithm>
#include <vector>

#include "tokenizers/unicode_tables.h"

namespace millrace::unicode {
namespace {

constexpr uint32_t kEnd = 0x110000;

// The order is that of GRAPHEME_CLASSES in tools/make_unicode_tables.py.
enum class GraphemeClass : uint8_t {
  kOther,
  kCarriageReturn,
  kLineFeed,
  kControl,
  kExtend,
  kZeroWidthJoiner,
  kRegionalIndicator,
  kPrepend,
  kSpacingMark,
  kHangulL,
  kHangulV,
  kHangulT,
  kPictograph,
  kHangulLV,
  kHangulLVT,
};

uint8_t class_bits(uint32_t code_point) {
  static const std::vector<uint8_t>& table = *[] {
    auto* bits = new std::vector<uint8_t>(kEnd);
    const auto ranges = class_ranges();
    for (size_t i = 0; i < ranges.size(); ++i) {
      const uint32_t end = i + 1 < ranges.size() ? ranges[i + 1] >> 8 : kEnd;
      std::fill(bits->begin() + (ranges[i] >> 8), bits->begin() + end, static_cast<uint8_t>(ranges[i] & 0xFF));
    }
    return bits;
  }();
  return table[code_point];
}

GraphemeClass grapheme_class(uint32_t code_point) {
  if (code_point >= 0xAC00 && code_point < 0xD7A4) {
    return (code_point - 0xAC00) % 28 == 0 ? GraphemeClass::kHangulLV : GraphemeClass::kHangulLVT;
  }
  return static_cast<GraphemeClass>(class_bits(code_point) >> 4);
}

bool is_break(GraphemeClass kind) {
  return kind == GraphemeClass::kCarriageReturn || kind == GraphemeClass::kLineFeed || kind == GraphemeClass::kControl;
}

// Rules GB3 to GB9b, which look at two neighbours only.
bool joins(GraphemeClass left, GraphemeClass right) {
  using enum GraphemeClass;
  if (left == kCarriageReturn && right == kLineFeed) return true;
  if (is_break(left) || is_break(right)) return false;
  if (right == kExtend || right == kZeroWidthJoiner || right == kSpacingMark || left == kPrepend) return true;
  if (left == kHangulL) return right == kHangulL || right == kHangulV || right == kHangulLV || right == kHangulLVT;
  if (left == kHangulLV || left == kHangulV) return right == kHangulV || right == kHangulT;
  if (left == kHangulLVT || left == kHangulT) return right == kHangulT;
  return false;
}

struct Sequence {
  bool well_formed;
  size_t length;  // of an ill-formed one: the bytes that some well-formed sequence could begin with, at least one
};

// After table 3-7 of The Unicode Standard.
Sequence examine(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return {true, 1};
  if (lead < 0xC2 || lead > 0xF4) return {false, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (size_t k = 1; k < length; ++k) {
    if (at + k == text.size()) return {false, k};
    const auto next = static_cast<unsigned char>(text[at + k]);
    unsigned low = 0x80, high = 0xBF;
    if (k == 1) {
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    }
    if (next < low || next > high) return {false, k};
  }
  return {true, length};
}

}  // namespace

void append_utf8(std::string& text, uint32_t code_point) {
  const auto put = [&](uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6), put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12), put(0x80 | (code_point >> 6 & 0x3F)), put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18), put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F)), put(0x80 | (code_point & 0x3F));
  }
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const Sequence sequence = examine(text, i);
    if (!sequence.well_formed) break;
    i += sequence.length;
  }
  return i;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string valid;
  size_t i = 0;
  while (i < text.size()) {
    const Sequence sequence = examine(text, i);
    if (sequence.well_formed) {
      valid.append(text.substr(i, sequence.length));
    } else {
      valid += "\xEF\xBF\xBD";
    }
    i += sequence.length;
  }
  return valid;
}

Category category(uint32_t code_point) {
  return static_cast<Category>(class_bits(code_point) & 15);
}

std::string to_lowercase(std::string_view text) {
  static const std::vector<int32_t>& deltas = *[] {  // all cased letters lie below 0x1F000
    auto* table = new std::vector<int32_t>(lowercase_ranges().back().last + 1);
    for (const LowercaseRange& range : lowercase_ranges()) {
      for (uint32_t c = range.first; c <= range.last; c += range.stride) (*table)[c] = range.delta;
    }
    return table;
  }();
  std::string lower;
  lower.reserve(text.size());
  size_t i = 0;
  while (i < text.size()) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      lower.push_back(static_cast<char>(byte >= 'A' && byte <= 'Z' ? byte + 32 : byte));
      ++i;
      continue;
    }
    const CodePoint c = decode(text, i);
    i += c.length;
    if (c.value == 0x130) {  // the one letter whose lower case is two code points: i and a dot above
      lower += "i\xCC\x87";
    } else {
      append_utf8(lower, c.value < deltas.size() ? c.value + deltas[c.value] : c.value);
    }
  }
  return lower;
}

size_t grapheme_length(std::string_view text, size_t at) {
  using enum GraphemeClass;
  const CodePoint first = decode(text, at);
  size_t end = at + first.length;
  GraphemeClass left = grapheme_class(first.value);
  bool odd_indicators = left == kRegionalIndicator;  // GB12: flags are pairs
  bool pictograph = left == kPictograph;             // GB11: a pictograph and marks before this point
  bool pictograph_joiner = false;                    // ... and a joiner right before it
  while (end < text.size()) {
    const CodePoint next = decode(text, end);
    const GraphemeClass right = grapheme_class(next.value);
    const bool joined = joins(left, right) || (odd_indicators && right == kRegionalIndicator) ||
                        (pictograph_joiner && right == kPictograph);
    if (!joined) break;
    odd_indicators = right == kRegionalIndicator && !odd_indicators;
    pictograph_joiner = pictograph && right == kZeroWidthJoiner;
    pictograph = right == kPictograph || (pictograph && (right == kExtend || right == kZeroWidthJoiner));
    left = right;
    end += next.length;
  }
  return end - at;
}

bool is_python_space(std::string_view text, size_t at) {
  return category(decode(text, at).value) == Category::kSpace || (text[at] >= 0x1C && text[at] <= 0x1F);
}

std::string_view python_strip(std::string_view text) {
  size_t begin = 0;
  while (begin < text.size() && is_python_space(text, begin)) begin += decode(text, begin).length;
  size_t end = text.size();
  while (end > begin) {
    size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (!is_python_space(text, last)) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

}  // namespace millrace::unicode
