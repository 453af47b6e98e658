// The commands of the program. Each lives in <name>_command.cpp and gets its arguments without the command's name.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace millrace {

// What a command does when what it prints has no reader any more: the terminal was closed, `| head` has seen enough.
enum class WithoutReader {
  kEnds,    // what it prints is all that it does
  kWorksOn  // its work is elsewhere: in files, or with other ranks
};

struct Command {
  const char* name;
  const char* summary;
  WithoutReader without_reader;
  // Returns the exit status, or throws one of the exceptions of base/error.h.
  int (*run)(const std::vector<std::string>& args);
};

std::span<const Command> commands();

int run_train(const std::vector<std::string>& args);
int run_launch(const std::vector<std::string>& args);
int run_forward(const std::vector<std::string>& args);
int run_tokenize(const std::vector<std::string>& args);
int run_inspect(const std::vector<std::string>& args);
int run_evaluate(const std::vector<std::string>& args);
int run_sample(const std::vector<std::string>& args);
int run_export(const std::vector<std::string>& args);
int run_import(const std::vector<std::string>& args);
int run_plan(const std::vector<std::string>& args);
int run_download(const std::vector<std::string>& args);
int run_prepare(const std::vector<std::string>& args);
int run_verify(const std::vector<std::string>& args);

}  // namespace millrace
