#include "data/expand_braces.h"

#include <charconv>
#include <cstdint>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr size_t kMaxTexts = 1'000'000;

std::optional<int64_t> parse_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

// The content of one pair of braces.
std::vector<std::string> alternatives(const std::string& inside, const std::string& pattern) {
  const size_t dots = inside.find("..");
  if (dots == std::string::npos) {
    if (inside.find(',') != std::string::npos) return split(inside, ',');
    throw DataError("[" + pattern + "] expected {first..last} or {a,b}, got {" + inside + "}");
  }
  const std::string first_text = inside.substr(0, dots), last_text = inside.substr(dots + 2);
  const auto first = parse_number(first_text), last = parse_number(last_text);
  if (!first || !last || *first > *last || static_cast<uint64_t>(*last - *first) >= kMaxTexts) {
    throw DataError("[" + pattern + "] expected a rising range of numbers, got {" + inside + "}");
  }
  std::vector<std::string> texts;
  for (int64_t number = *first; number <= *last; ++number) {
    std::string digits = std::to_string(number);
    if (digits.size() < first_text.size()) digits.insert(0, first_text.size() - digits.size(), '0');
    texts.push_back(std::move(digits));
  }
  return texts;
}

}  // namespace

std::vector<std::string> expand_braces(const std::string& pattern) {
  const size_t open = pattern.find('{');
  if (open == std::string::npos) return {pattern};
  const size_t close = pattern.find('}', open);
  if (close == std::string::npos) throw DataError("[" + pattern + "] expected } after {, got none");
  std::vector<std::string> texts;
  const std::vector<std::string> tails = expand_braces(pattern.substr(close + 1));
  for (const std::string& middle : alternatives(pattern.substr(open + 1, close - open - 1), pattern)) {
    for (const std::string& tail : tails) {
      if (texts.size() >= kMaxTexts) throw DataError("[" + pattern + "] expected at most a million files, got more");
      texts.push_back(pattern.substr(0, open) + middle + tail);
    }
  }
  return texts;
}

}  // namespace millrace
