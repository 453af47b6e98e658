// Regular expressions that users write, in Perl's syntax (PCRE2), which covers what Python's re has: lookbehind, (?i),
// named groups.
#pragma once

#include <memory>
#include <string>

namespace millrace {

class RegularExpression {
 public:
  // Throws ConfigError with what is wrong and where, without naming an option: "missing closing parenthesis at 4".
  explicit RegularExpression(const std::string& pattern);

  // Python's search() and fullmatch(). Throw ConfigError for a pattern that takes too many steps on this text.
  bool found_in(const std::string& text) const;
  bool matches(const std::string& text) const;

 private:
  bool match(const std::string& text, bool whole) const;

  std::string pattern_;
  std::shared_ptr<const void> code_;  // pcre2_code
};

}  // namespace millrace
