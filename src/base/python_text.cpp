#include "base/python_text.h"

#include <algorithm>
#include <array>

namespace millrace {
namespace {

// White space beyond ASCII, as UTF-8.
constexpr std::array<std::string_view, 19> kSpaces = {
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81", "\xE2\x80\x82", "\xE2\x80\x83",
    "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86", "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A",
    "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

bool is_ascii_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1C' && c <= '\x1F');
}

}  // namespace

std::string_view python_strip(std::string_view text) {
  for (bool more = true; more && !text.empty();) {
    const auto space = std::find_if(kSpaces.begin(), kSpaces.end(), [&](auto s) { return text.starts_with(s); });
    more = space != kSpaces.end() || is_ascii_space(text.front());
    if (more) text.remove_prefix(space != kSpaces.end() ? space->size() : 1);
  }
  for (bool more = true; more && !text.empty();) {
    const auto space = std::find_if(kSpaces.begin(), kSpaces.end(), [&](auto s) { return text.ends_with(s); });
    more = space != kSpaces.end() || is_ascii_space(text.back());
    if (more) text.remove_suffix(space != kSpaces.end() ? space->size() : 1);
  }
  return text;
}

std::vector<std::string_view> python_split(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> parts;
  for (size_t at = text.find(separator); at != std::string_view::npos; at = text.find(separator)) {
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string> python_lines(std::string_view content) {
  std::vector<std::string> lines;
  while (!content.empty()) {
    const size_t end = content.find_first_of("\r\n");
    lines.emplace_back(content.substr(0, end));
    if (end == std::string_view::npos) break;
    content.remove_prefix(end + (content.substr(end).starts_with("\r\n") ? 2 : 1));
  }
  return lines;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string replaced;
  const std::vector<std::string_view> parts = python_split(text, from);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) replaced += to;
    replaced += parts[i];
  }
  return replaced;
}

}  // namespace millrace
