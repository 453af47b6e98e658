// Options of torchtitan that mean nothing here. Its files must run as they are, so these are read and checked; a value
// that would have changed something is never passed over in silence.
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
    kTranslate,  // the task makes something of it (RunConfig::apply)
  };

  const char* name;  // "section.key"; a trailing * stands for any end
  Type type;
  const char* harmless;  // as TOML, or None: the value that changes nothing, usually torchtitan's default
  Answer answer;
  const char* reason;
};

// Those of torchtitan itself; a task adds those of its model.
std::vector<ForeignOption> general_foreign_options();

// The row for "section.key", exact names first; nullptr when there is none.
const ForeignOption* find_foreign_option(std::span<const ForeignOption> options, std::string_view name);

// What a text on the command line means for an option of this type.
TomlValue value_from_text(const ForeignOption& option, const std::string& text, const std::string& place);

// Returns "" or what was wrong with the type, `expected ..., got ...`.
std::string check_type(const ForeignOption& option, const TomlValue& value);
bool is_harmless(const ForeignOption& option, const TomlValue& value);

}  // namespace millrace
