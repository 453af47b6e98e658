// The sub-commands of `millrace tune`. Each gets its arguments without the names.
#pragma once

#include <string>
#include <vector>

namespace millrace {

int run_tune_run(const std::vector<std::string>& args);
int run_tune_validate(const std::vector<std::string>& args);
int run_tune_download(const std::vector<std::string>& args);

}  // namespace millrace
