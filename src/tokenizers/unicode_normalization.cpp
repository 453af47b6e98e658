// NFC after The Unicode Standard, section 3.11: decompose, put marks in order, compose.
#include <algorithm>
#include <unordered_map>
#include <vector>

#include "tokenizers/unicode.h"
#include "tokenizers/unicode_tables.h"

namespace millrace::unicode {
namespace {

constexpr uint32_t kSyllableBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr uint32_t kLCount = 19, kVCount = 21, kTCount = 28, kSyllableCount = kLCount * kVCount * kTCount;

struct NormalizationData {
  std::unordered_map<uint32_t, Decomposition> decompositions;
  std::unordered_map<uint64_t, uint32_t> compositions;
  std::unordered_map<uint32_t, uint8_t> combining_classes;
  // Code points that NFC may change or that may join the one before them; text without any is already in NFC.
  std::vector<bool> interesting = std::vector<bool>(0x30000);
};

uint64_t pair_key(uint32_t first, uint32_t second) {
  return static_cast<uint64_t>(first) << 32 | second;
}

const NormalizationData& data() {
  static const NormalizationData& instance = *[] {
    auto* d = new NormalizationData;
    const auto mark = [&](uint32_t c) { d->interesting[c] = true; };
    for (const Decomposition& entry : decompositions()) {
      d->decompositions.emplace(entry.code_point, entry);
      if (entry.composes) {
        d->compositions.emplace(pair_key(entry.first, entry.second), entry.code_point);
        mark(entry.second);
      } else {
        mark(entry.code_point);
      }
    }
    for (const uint32_t entry : combining_classes()) {
      d->combining_classes.emplace(entry >> 8, static_cast<uint8_t>(entry & 0xFF));
      mark(entry >> 8);
    }
    for (uint32_t i = 0; i < kVCount; ++i) mark(kVBase + i);
    for (uint32_t i = 0; i < kTCount; ++i) mark(kTBase + i);
    return d;
  }();
  return instance;
}

uint8_t combining_class(uint32_t code_point) {
  const auto found = data().combining_classes.find(code_point);
  return found == data().combining_classes.end() ? 0 : found->second;
}

void append_decomposed(std::vector<uint32_t>& out, uint32_t code_point) {
  if (code_point >= kSyllableBase && code_point < kSyllableBase + kSyllableCount) {
    const uint32_t s = code_point - kSyllableBase;
    out.push_back(kLBase + s / (kVCount * kTCount));
    out.push_back(kVBase + s % (kVCount * kTCount) / kTCount);
    if (s % kTCount != 0) out.push_back(kTBase + s % kTCount);
    return;
  }
  const auto found = data().decompositions.find(code_point);
  if (found == data().decompositions.end()) {
    out.push_back(code_point);
    return;
  }
  append_decomposed(out, found->second.first);
  if (found->second.second != 0) append_decomposed(out, found->second.second);
}

// 0 when the two do not compose.
uint32_t compose(uint32_t first, uint32_t second) {
  if (first >= kLBase && first < kLBase + kLCount && second >= kVBase && second < kVBase + kVCount) {
    return kSyllableBase + ((first - kLBase) * kVCount + second - kVBase) * kTCount;
  }
  const bool is_lv =
      first >= kSyllableBase && first < kSyllableBase + kSyllableCount && (first - kSyllableBase) % kTCount == 0;
  if (is_lv && second > kTBase && second < kTBase + kTCount) return first + second - kTBase;
  const auto found = data().compositions.find(pair_key(first, second));
  return found == data().compositions.end() ? 0 : found->second;
}

bool is_interesting(uint32_t code_point) {
  return code_point < 0x30000 && data().interesting[code_point];
}

}  // namespace

std::string to_nfc(std::string_view text) {
  // Most text is already in NFC and has no character that could change that.
  size_t at = 0;
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  while (at < text.size()) {
    const CodePoint c = decode(text, at);
    if (is_interesting(c.value)) break;
    at += c.length;
  }
  if (at == text.size()) return std::string(text);

  struct Marked {
    uint32_t code_point;
    uint8_t combining;
  };
  std::vector<uint32_t> decomposed;
  decomposed.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode(text, i);
    append_decomposed(decomposed, c.value);
    i += c.length;
  }
  std::vector<Marked> marked;
  marked.reserve(decomposed.size());
  for (const uint32_t c : decomposed) marked.push_back({c, combining_class(c)});
  for (size_t i = 0; i < marked.size();) {
    if (marked[i].combining == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < marked.size() && marked[end].combining != 0) ++end;
    std::stable_sort(marked.begin() + static_cast<ptrdiff_t>(i), marked.begin() + static_cast<ptrdiff_t>(end),
                     [](const Marked& a, const Marked& b) { return a.combining < b.combining; });
    i = end;
  }

  std::vector<uint32_t> composed;
  composed.reserve(marked.size());
  size_t starter = SIZE_MAX;  // index into composed
  int last_class = -1;        // combining class of the last code point after the starter, -1 if there is none
  for (const Marked& next : marked) {
    if (starter != SIZE_MAX && (last_class == -1 || (last_class != 0 && last_class < next.combining))) {
      if (const uint32_t joined = compose(composed[starter], next.code_point)) {
        composed[starter] = joined;
        continue;
      }
    }
    if (next.combining == 0) {
      starter = composed.size();
      last_class = -1;
    } else {
      last_class = next.combining;
    }
    composed.push_back(next.code_point);
  }
  std::string out;
  out.reserve(text.size());
  for (const uint32_t c : composed) append_utf8(out, c);
  return out;
}

}  // namespace millrace::unicode
