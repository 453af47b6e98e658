// millrace prepare sentences: conversations of words and sentences, the data set of `./quickstart.sh llama`.
#include <CLI/CLI.hpp>
#include <iostream>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "command_line.h"
#include "prepare/sentences.h"
#include "prepare_commands.h"

namespace millrace {

int run_prepare_sentences(const std::vector<std::string>& args) {
  ArgumentParser app(
      "Conversations from a list of words and sentences: what stands for the words is the answer. Some sentences and "
      "pairs of words are kept for a test.",
      "millrace prepare sentences");
  std::string list, output;
  SentenceOptions options;
  app.add_option("list", list, "File with [words], [patterns] and [held out patterns]")->required();
  app.add_option("--output", output, "Folder for train.jsonl and held_out.jsonl")->required();
  app.add_option("--count", options.count, "Rows to train on")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--held-out", options.held_out, "Rows for a test: other sentences, other pairs of words")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Another seed makes other rows")->capture_default_str();
  if (!parse_command_line(app, args)) return static_cast<int>(ExitCode::kDone);
  constexpr uint64_t kMaxListBytes = uint64_t{1} << 20;
  const SentenceList read = parse_sentence_list(read_file(list, kMaxListBytes), list);
  const SentenceRows rows = make_sentence_rows(read, options, list);
  write_sentence_rows(rows, output);
  std::cout << "Wrote " << rows.train.size() << " rows to train on and " << rows.held_out.size() << " held-out ones to "
            << output << ".\n";
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
