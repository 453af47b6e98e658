// Which options a file or a command line set, and in which spelling: some spellings have an additional effect.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/toml_file.h"

namespace millrace {

struct GivenOptions {
  std::map<std::string, std::string> spellings;  // "section.key" of ours -> the spelling used last
  std::set<std::string> on_command_line;         // "section.key" of ours
  // torchtitan's options that the task translates (ForeignOption::Answer::kTranslate), in the order given.
  std::vector<std::pair<std::string, TomlValue>> translated;

  bool contains(const std::string& name) const { return spellings.contains(name); }
  bool is_on_command_line(const std::string& name) const { return on_command_line.contains(name); }
  // "" when the option was not given.
  std::string spelling(const std::string& name) const {
    const auto found = spellings.find(name);
    return found == spellings.end() ? "" : found->second;
  }
};

}  // namespace millrace
