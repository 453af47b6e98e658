#include "mutator.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

namespace millrace {
namespace {

constexpr std::array<uint64_t, 16> kExtremes = {0,
                                                1,
                                                7,
                                                255,
                                                256,
                                                0x7FFF,
                                                0xFFFF,
                                                0x7FFFFFFF,
                                                0x80000000,
                                                0xFFFFFFFF,
                                                100'000'000,
                                                uint64_t{1} << 40,
                                                uint64_t{1} << 62,
                                                INT64_MAX,
                                                uint64_t{1} << 63,
                                                UINT64_MAX};

}  // namespace

std::string Mutator::mutate(const std::vector<std::string>& samples) {
  std::string text = samples[below(samples.size())];
  for (uint64_t changes = 1 + below(4); changes > 0; --changes) change(text, samples);
  return text;
}

void Mutator::change(std::string& text, const std::vector<std::string>& samples) {
  if (text.empty()) return;
  const size_t at = below(text.size());
  const size_t length = 1 + below(std::min<size_t>(text.size() - at, 64));
  switch (below(10)) {
    case 0:
    case 1:
      text[at] ^= static_cast<char>(1 << below(8));
      return;
    case 2:
      text[at] = std::array<char, 8>{'\0', '\xFF', '"', '{', '[', '0', '9', ' '}[below(8)];
      return;
    case 3:
      text.resize(at);
      return;
    case 4:
      text.erase(at, length);
      return;
    case 5:
      text.insert(below(text.size() + 1), text.substr(at, length));
      return;
    case 6: {
      const std::string& other = samples[below(samples.size())];
      if (!other.empty()) text.insert(at, other.substr(below(other.size()), 1 + below(256)));
      return;
    }
    case 7: {
      const std::string piece = text.substr(at, length);
      text.erase(at, length);
      text.insert(below(text.size() + 1), piece);
      return;
    }
    case 8:
      set_length_field(text);
      return;
    case 9:
      set_number(text);
      return;
  }
}

// Formats keep lengths in their first bytes, little-endian, and tar in octal digits at 124.
void Mutator::set_length_field(std::string& text) {
  const size_t bytes = size_t{1} << below(4);
  const size_t at = below(2) ? below(std::min<size_t>(text.size(), 16)) : below(text.size());
  if (text.size() - at < bytes) return;
  uint64_t value = kExtremes[below(kExtremes.size())] + below(3) - 1;
  if (below(2)) {
    std::memcpy(&value, text.data() + at, bytes);
    value += below(17) - 8;
  }
  std::memcpy(text.data() + at, &value, bytes);
}

void Mutator::set_number(std::string& text) {
  size_t begin = below(text.size());
  while (begin < text.size() && !std::isdigit(static_cast<unsigned char>(text[begin]))) ++begin;
  size_t end = begin;
  while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
  std::string number = std::to_string(kExtremes[below(kExtremes.size())] + below(3) - 1);
  if (below(8) == 0) number = '-' + number;
  if (below(8) == 0) number += "e99";
  text.replace(begin, end - begin, number);
}

}  // namespace millrace
