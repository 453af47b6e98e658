#include "help_text.h"

#include "base/error.h"
#include "base/log.h"
#include "commands.h"
#include "failure.h"

namespace millrace {
namespace {

std::string row(const std::string& left, const std::string& right) {
  return "  " + left + std::string(left.size() < 10 ? 10 - left.size() : 1, ' ') + right + "\n";
}

std::string exit_row(ExitCode code, const char* meaning) {
  return row(str(static_cast<int>(code)), meaning);
}

}  // namespace

std::string program_help() {
  std::string text =
      "millrace trains FLUX image models and Llama language models.\n"
      "\n"
      "usage: millrace COMMAND [ARGUMENTS]\n"
      "       millrace COMMAND --help\n"
      "       millrace --version\n"
      "\n"
      "commands:\n";
  for (const Command& command : commands()) text += row(command.name, command.summary);
  text += "\nexit status:\n";
  text += exit_row(ExitCode::kDone, "done");
  text += row(str(kUnexpectedFailure), "a library failed, memory ran out, or millrace has a bug");
  text += exit_row(ExitCode::kConfig, "the configuration or the command line is wrong");
  text += exit_row(ExitCode::kData, "the data is missing or damaged");
  text += exit_row(ExitCode::kModel, "weights or tokenizer do not fit the model");
  text += exit_row(ExitCode::kStorage, "reading or writing failed: disk full, checkpoint damaged");
  text += exit_row(ExitCode::kNumerics, "the loss or a gradient is not finite");
  text += exit_row(ExitCode::kPeerLost, "another rank failed or went silent");
  text += exit_row(ExitCode::kPreempted, "stopped on request after a checkpoint; the same command resumes");
  return text;
}

}  // namespace millrace
