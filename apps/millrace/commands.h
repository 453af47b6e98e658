// The commands of the program. Each lives in <name>_command.cpp and gets its arguments without the command's name.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace millrace {

// What a command does when its output no longer has a reader: the terminal was closed, or `| head` has exited.
enum class WithoutReader {
  kEnds,    // printing is all that it does
  kWorksOn  // it has other work: files, or other ranks
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
int run_kohya(const std::vector<std::string>& args);
int run_tune(const std::vector<std::string>& args);
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
