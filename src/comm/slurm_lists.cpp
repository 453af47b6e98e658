#include "comm/slurm_lists.h"

#include <charconv>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr size_t kMaxNodes = 100000;

[[noreturn]] void refuse(const std::string& list, const std::string& expected) {
  throw ConfigError("[Slurm's list " + list.substr(0, 200) + "] expected " + expected);
}

int64_t number(const std::string& list, std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty() || text[0] == '-' ||
      value > 1'000'000'000) {
    refuse(list, "a number, got '" + std::string(text) + "'");
  }
  return value;
}

// Commas outside of brackets.
std::vector<std::string> split_outside(const std::string& list) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : list) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (depth < 0 || depth > 1) refuse(list, "brackets that match");
    if (c == ',' && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  if (depth != 0) refuse(list, "brackets that match");
  return parts;
}

// "01-03,7" -> 01, 02, 03, 7
std::vector<std::string> expand_ranges(const std::string& list, const std::string& ranges) {
  std::vector<std::string> values;
  for (const std::string& range : split(ranges, ',')) {
    const size_t dash = range.find('-');
    const std::string first = range.substr(0, dash);
    const int64_t from = number(list, first);
    const int64_t to = dash == std::string::npos ? from : number(list, std::string_view(range).substr(dash + 1));
    if (to < from || to - from >= static_cast<int64_t>(kMaxNodes)) refuse(list, "a range that ascends, got " + range);
    for (int64_t value = from; value <= to; ++value) {
      const std::string digits = std::to_string(value);
      values.push_back(std::string(first.size() > digits.size() ? first.size() - digits.size() : 0, '0') + digits);
    }
  }
  return values;
}

// Every bracket multiplies: "rack[1-2]node[1-2]".
void expand_one(const std::string& list, const std::string& pattern, std::vector<std::string>& nodes) {
  const size_t open = pattern.find('[');
  if (open == std::string::npos) {
    if (pattern.empty()) refuse(list, "names between its commas");
    if (nodes.size() >= kMaxNodes) refuse(list, "at most 100,000 nodes");
    nodes.push_back(pattern);
    return;
  }
  const size_t close = pattern.find(']', open);
  const std::string head = pattern.substr(0, open), tail = pattern.substr(close + 1);
  for (const std::string& value : expand_ranges(list, pattern.substr(open + 1, close - open - 1))) {
    expand_one(list, head + value + tail, nodes);
  }
}

}  // namespace

std::vector<std::string> expand_node_list(const std::string& list) {
  std::vector<std::string> nodes;
  for (const std::string& pattern : split_outside(list)) expand_one(list, pattern, nodes);
  return nodes;
}

std::vector<int> expand_task_counts(const std::string& list) {
  std::vector<int> counts;
  for (const std::string& part : split(list, ',')) {
    const size_t open = part.find("(x");
    const int64_t tasks = number(list, std::string_view(part).substr(0, open));
    int64_t nodes = 1;
    if (open != std::string::npos) {
      if (part.back() != ')') refuse(list, "counts such as 4(x2), got " + part);
      nodes = number(list, std::string_view(part).substr(open + 2, part.size() - open - 3));
    }
    if (counts.size() + static_cast<size_t>(nodes) > kMaxNodes) refuse(list, "at most 100,000 nodes");
    counts.insert(counts.end(), static_cast<size_t>(nodes), static_cast<int>(tasks));
  }
  return counts;
}

}  // namespace millrace
