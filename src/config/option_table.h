// A RunConfig's options as a list: each description with a pointer to the member.
#pragma once

#include <string>
#include <vector>

#include "config/option.h"
#include "config/run_config.h"
#include "config/toml_file.h"

namespace millrace {

// The pointers stay valid as long as config stays where it is.
std::vector<OptionSection> option_sections(RunConfig& config);

// "whole number", "number", "text", "true or false", "list of texts", ...
std::string type_name(const Option& option);
// "at least 0 and below 1", "one of a, b"; "" when every value of the type is allowed.
std::string allowed_values(const Option& option);
// The value as TOML; "None" for None.
std::string value_text(const Option& option);

// Checks type and range and assigns. Returns "" or what was wrong, `expected ..., got ...`.
std::string assign(const Option& option, const TomlValue& value);
// Parses a command-line text as a value of this option's type. Throws ConfigError for a malformed list.
TomlValue value_from_text(const Option& option, const std::string& text, const std::string& place);

}  // namespace millrace
