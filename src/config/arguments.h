// Taking a command line apart into the options of the schema and the rest.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "config/task_kind.h"

namespace millrace {

struct Arguments {
  std::vector<std::string> positional;  // of what follows a "--", everything
  std::vector<std::string> own;         // the command's own options with their values
  // "--section.key=value" or "--section.flag", in order; config_file is not among them
  std::vector<std::string> overrides;
  std::string config_file;          // of --job.config_file
  std::vector<std::string> others;  // what starts with a dash, holds no dot and is not `own`
};

// How many words from args[i] on are an option of the command's own, with its value; 0 for any other word.
using WordsOfOption = std::function<size_t(size_t i)>;

// "--section.key value" becomes "--section.key=value": whether the next word belongs to an option follows from its
// type, in the first task that has the option. A name may hold "-" for "_". Throws ConfigError when a value is missing.
Arguments split_arguments(TaskKinds tasks, const std::vector<std::string>& args,
                          const WordsOfOption& words_of_option = nullptr);

}  // namespace millrace
