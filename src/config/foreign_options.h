// Options of torchtitan that have no effect here. Its files must run unchanged, so these are read and checked; a value
// that would have changed something is never silently ignored.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/toml_file.h"

namespace millrace {

struct ForeignOption {
  enum class Type { kFlag, kInteger, kNumber, kText, kList, kAny };
  enum class Answer {
    kWarn,       // the run's result is the same without it
    kRefuse,     // the run would not be what was asked for
    kTranslate,  // the task applies it in its own way (RunConfig::apply)
  };

  const char* name;  // "section.key"; a trailing * matches any suffix
  Type type;
  const char* harmless;  // as TOML, or None: the value that has no effect, usually torchtitan's default
  Answer answer;
  const char* reason;
};

// torchtitan's own; a task adds those of its model.
std::vector<ForeignOption> general_foreign_options();

// The row for "section.key", exact names first; nullptr when there is none.
const ForeignOption* find_foreign_option(std::span<const ForeignOption> options, std::string_view name);

// Parses a command-line text as a value of this option's type.
TomlValue value_from_text(const ForeignOption& option, const std::string& text, const std::string& place);

// Returns "" or what was wrong with the type, `expected ..., got ...`.
std::string check_type(const ForeignOption& option, const TomlValue& value);
bool is_harmless(const ForeignOption& option, const TomlValue& value);

}  // namespace millrace
