#include "commands.h"

#include <array>

namespace millrace {
namespace {

constexpr std::array kCommands = std::to_array<Command>({
    {"train", "train a model as a TOML file says, or go on with a run", run_train},
    {"launch", "run a command as several ranks on this machine", run_launch},
    {"sample", "draw pictures from a checkpoint", run_sample},
    {"evaluate", "compute the validation loss of a checkpoint", run_evaluate},
    {"plan", "say what a run on a cluster would take: memory, traffic, time", run_plan},
    {"download", "fetch models and data sets", run_download},
    {"prepare", "build data sets", run_prepare},
    {"export", "write a checkpoint's weights in another naming", run_export},
    {"import", "check weights in any naming and write them under our names", run_import},
    {"inspect", "show what is in a file or a checkpoint", run_inspect},
    {"tokenize", "turn lines of text into token ids", run_tokenize},
    {"forward", "run a model forward, and backward, on tensors from a file", run_forward},
    {"verify", "check this machine's kernels, and the ranks' collectives, against references", run_verify},
});

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

}  // namespace millrace
