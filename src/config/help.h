// The schema as text: for a terminal and for docs/configuration.md.
#pragma once

#include <string>

namespace millrace {

// Every option with type, unit, default and meaning, grouped by section; or one section. Throws ConfigError naming the
// nearest section when there is no such one.
std::string options_help(const std::string& section = "");

// The same as Markdown tables, and a table of the options that torchtitan has and millrace only accepts.
std::string options_markdown();

}  // namespace millrace
