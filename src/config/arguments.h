// Splits a command line into the options of the schema and the rest.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "config/task_kind.h"

namespace millrace {

struct Arguments {
  std::vector<std::string> positional;  // and everything after "--"
  std::vector<std::string> own;         // the command's own options with their values
  // "--section.key=value" or "--section.flag", in order; config_file is not among them
  std::vector<std::string> overrides;
  std::string config_file;          // of --job.config_file
  std::vector<std::string> others;  // words that start with a dash, contain no dot and are not in `own`
};

// How many words from args[i] on are one of the command's own options with its value; 0 for any other word.
using WordsOfOption = std::function<size_t(size_t i)>;

// "--section.key value" becomes "--section.key=value": the option's type, in the first task that has it, decides
// whether the next word is its value. Names may contain "-" for "_". Throws ConfigError when a value is missing.
Arguments split_arguments(TaskKinds tasks, const std::vector<std::string>& args,
                          const WordsOfOption& words_of_option = nullptr);

}  // namespace millrace
