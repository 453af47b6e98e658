// millrace prepare: builds data sets.
#include <array>
#include <iostream>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "commands.h"
#include "prepare_commands.h"

namespace millrace {
namespace {

constexpr std::array kPrepareCommands = std::to_array<PrepareCommand>({
    {"emoji", "captioned emoji as WebDataset shards, from an installed font", run_prepare_emoji},
    {"sentences", "conversations whose answers are known, from a list of words and sentences", run_prepare_sentences},
    {"find-problematic", "list the samples of a set that cannot be decoded", run_prepare_find_problematic},
    {"clean", "leave out unusable and small pictures, add square ones to the rest", run_prepare_clean},
    {"coco", "the captioned pictures on which FLUX is validated, as WebDataset shards", run_prepare_coco},
    {"encode", "T5, CLIP and autoencoder encodings of a data set, for training from them", run_prepare_encode},
    {"empty-encodings", "the encodings of the empty prompt", run_prepare_empty_encodings},
});

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const PrepareCommand& command : kPrepareCommands) all.emplace_back(command.name);
  return all;
}

std::string prepare_help() {
  size_t width = 0;
  for (const std::string& name : names()) width = std::max(width, name.size());
  std::string text =
      "Builds data sets.\n\n"
      "usage: millrace prepare SUBCOMMAND [ARGUMENTS]\n"
      "       millrace prepare SUBCOMMAND --help\n\nsub-commands:\n";
  for (const auto& [name, summary, run] : kPrepareCommands) {
    text += str("  ", name, std::string(width + 2 - std::string(name).size(), ' '), summary, "\n");
  }
  return text;
}

}  // namespace

std::span<const PrepareCommand> prepare_commands() {
  return kPrepareCommands;
}

int run_prepare(const std::vector<std::string>& args) {
  if (!args.empty() && (args[0] == "--help" || args[0] == "-h")) {
    std::cout << prepare_help();
    return static_cast<int>(ExitCode::kDone);
  }
  if (args.empty())
    throw ConfigError(
        str("[prepare] expected one of ", join(names(), ", "), ", got nothing (try millrace prepare --help)"));
  for (const PrepareCommand& command : kPrepareCommands) {
    if (args[0] == command.name) return command.run({args.begin() + 1, args.end()});
  }
  const std::string suggestion = nearest(args[0], names());
  throw ConfigError(str("[prepare] expected one of ", join(names(), ", "), ", got ", args[0],
                        suggestion.empty() ? "" : " (try millrace prepare " + suggestion + ")"));
}

}  // namespace millrace
