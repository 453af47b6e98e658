// The sub-commands of `millrace prepare`. Each lives in prepare_<name>.cpp and gets its arguments without the names.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace millrace {

struct PrepareCommand {
  const char* name;
  const char* summary;
  // Returns the exit status, or throws one of the exceptions of base/error.h.
  int (*run)(const std::vector<std::string>& args);
};

std::span<const PrepareCommand> prepare_commands();

int run_prepare_emoji(const std::vector<std::string>& args);
int run_prepare_sentences(const std::vector<std::string>& args);
int run_prepare_find_problematic(const std::vector<std::string>& args);
int run_prepare_clean(const std::vector<std::string>& args);
int run_prepare_coco(const std::vector<std::string>& args);
int run_prepare_encode(const std::vector<std::string>& args);
int run_prepare_empty_encodings(const std::vector<std::string>& args);

}  // namespace millrace
