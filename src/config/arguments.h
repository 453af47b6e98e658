// Taking a command line apart into the options of the schema and the rest.
#pragma once

#include <string>
#include <vector>

namespace millrace {

struct Arguments {
  std::vector<std::string> positional;
  std::vector<std::string>
      overrides;            // "--section.key=value" or "--section.flag", in order; config_file is not among them
  std::string config_file;  // of --job.config_file
  std::vector<std::string> others;  // what starts with a dash and holds no dot: the command's own flags
};

// "--section.key value" becomes "--section.key=value": whether the next word belongs to an option follows from its
// type. A name may hold "-" for "_". Throws ConfigError when a value is missing.
Arguments split_arguments(const std::vector<std::string>& args);

}  // namespace millrace
