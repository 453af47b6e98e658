// Small string helpers shared by everything that reads or reports text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
bool starts_with(std::string_view text, std::string_view prefix);
bool ends_with(std::string_view text, std::string_view suffix);
std::string to_lower(std::string_view text);
std::string join(const std::vector<std::string>& parts, std::string_view separator);

// Edits (insert, delete, substitute, swap neighbours) that turn a into b.
int edit_distance(std::string_view a, std::string_view b);
// The candidate nearest to word, or "" when none is near enough to be a plausible misspelling.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

std::string with_thousands(int64_t value);                    // 1234567 -> "1,234,567"
std::string human_bytes(uint64_t bytes);                      // 1536 -> "1.50 KiB"
std::string human_duration(double seconds);                   // 3725 -> "1:02:05"
std::string format_double(const char* format, double value);  // one printf conversion

// True when text is well-formed UTF-8 (no overlong forms, no surrogates).
bool is_valid_utf8(std::string_view text);
std::string json_escape(std::string_view text);
std::string html_escape(std::string_view text);

}  // namespace millrace
