#include "commands.h"

#include <array>

namespace millrace {
namespace {

constexpr std::array kCommands = std::to_array<Command>({
    {"train", "train a model according to a TOML file, or resume a run", WithoutReader::kWorksOn, run_train},
    {"launch", "run a command as several ranks on this machine", WithoutReader::kWorksOn, run_launch},
    {"kohya", "train a LoRA with the command line of sd-scripts' flux_train_network", WithoutReader::kWorksOn,
     run_kohya},
    {"tune", "train with torchtune's recipes and YAML files", WithoutReader::kWorksOn, run_tune},
    {"sample", "draw pictures or write texts from a checkpoint", WithoutReader::kWorksOn, run_sample},
    {"evaluate", "compute the validation loss of a checkpoint", WithoutReader::kWorksOn, run_evaluate},
    {"plan", "report the resources that a run on a cluster needs: memory, traffic, time", WithoutReader::kEnds,
     run_plan},
    {"download", "fetch models and data sets", WithoutReader::kWorksOn, run_download},
    {"prepare", "build data sets", WithoutReader::kWorksOn, run_prepare},
    {"export", "write a checkpoint's weights in another naming", WithoutReader::kWorksOn, run_export},
    {"import", "check weights in any naming and write them under our names", WithoutReader::kWorksOn, run_import},
    {"inspect", "show what is in a file or a checkpoint", WithoutReader::kEnds, run_inspect},
    {"tokenize", "turn lines of text into token ids", WithoutReader::kEnds, run_tokenize},
    {"forward", "run a model's forward and backward pass on tensors from a file", WithoutReader::kWorksOn, run_forward},
    {"verify", "check this machine's kernels, and the ranks' collectives, against references", WithoutReader::kWorksOn,
     run_verify},
});

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

}  // namespace millrace
