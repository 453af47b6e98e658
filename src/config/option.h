// What is known about one option besides its C++ member: everything that parsing, checking, --help, printing and
// docs/configuration.md need. The sections' structs describe themselves with it, once.
#pragma once

#include <limits>
#include <vector>

namespace millrace {

struct OptionInfo {
  const char* name;       // the key in its section, with underscores
  const char* unit = "";  // "steps", "seconds", "pixels", ...; "" for a pure number or a text
  const char* meaning = "";
  std::vector<const char*> choices = {};  // texts only: the values allowed; empty allows all
  // Numbers only (each item of a list); a bound does not apply to None.
  double at_least = -std::numeric_limits<double>::infinity();
  double at_most = std::numeric_limits<double>::infinity();
  double above = -std::numeric_limits<double>::infinity();
  double below = std::numeric_limits<double>::infinity();
  bool none_is_empty = false;             // texts only: None means ""
  std::vector<const char*> aliases = {};  // other accepted spellings, as "section.key"
  const char* torchtitan_default = "";    // said in the documentation where ours differs
};

}  // namespace millrace
