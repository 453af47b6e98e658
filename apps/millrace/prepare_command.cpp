// millrace prepare: builds data sets.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "commands.h"
#include "data/emoji/emoji_dataset.h"

namespace millrace {
namespace {

// A bar on a terminal, nothing in a log file.
void draw_progress(int64_t done, int64_t total) {
  if (!::isatty(STDERR_FILENO)) return;
  constexpr int kWidth = 40;
  const int filled = static_cast<int>(kWidth * done / total);
  std::fprintf(stderr, "\r%s%s %s/%s%s", std::string(filled, '#').c_str(), std::string(kWidth - filled, '.').c_str(),
               with_thousands(done).c_str(), with_thousands(total).c_str(), done == total ? "\n" : "");
}

void add_emoji_options(CLI::App& emoji, EmojiDatasetOptions& options, std::string& background) {
  emoji.add_option("--output", options.output, "Folder for the shards")->required();
  emoji.add_option("--size", options.size, "Pixels a side")->capture_default_str();
  emoji.add_option("--count", options.count, "Take the first so many, the best known first (0: all)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  emoji.add_option("--only", options.only,
                   "File that lists the emoji to take, one a line, each with an optional caption");
  emoji.add_option("--filter", options.filter, "Take those with one of these words in their caption: heart,face,apple");
  emoji.add_option("--background", background, "white, black, grey or #RRGGBB")->capture_default_str();
  emoji.add_option("--samples-per-shard", options.samples_per_shard, "Pictures in one tar file")->capture_default_str();
  emoji.add_option("--font", options.font, "Emoji font with colour bitmaps (Debian: fonts-noto-color-emoji)")
      ->capture_default_str();
  emoji.add_option("--annotations", options.annotations, "CLDR names of emoji (Debian: unicode-cldr-core)")
      ->capture_default_str();
}

}  // namespace

int run_prepare(const std::vector<std::string>& args) {
  CLI::App app("Builds data sets.", "millrace prepare");
  app.require_subcommand(1);
  CLI::App* emoji = app.add_subcommand("emoji", "Captioned emoji as WebDataset shards, from an installed font");
  EmojiDatasetOptions options;
  std::string background = "white";
  add_emoji_options(*emoji, options, background);
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));  // CLI11 takes them last first
  } catch (const CLI::CallForHelp&) {
    // CLI11 forgets which sub-command was asked when it throws.
    std::cout << (emoji->parsed() ? emoji->help("millrace prepare") : app.help());
    return 0;
  } catch (const CLI::ParseError& error) {
    throw ConfigError(str("[prepare] ", error.what(), " (try millrace prepare emoji --help)"));
  }

  options.background = parse_colour(background);
  const double start = now_seconds();
  const EmojiDatasetSummary summary = write_emoji_dataset(options, draw_progress);
  std::cout << "Wrote " << with_thousands(summary.samples) << " pictures of " << options.size << " x " << options.size
            << " in " << summary.shards << (summary.shards == 1 ? " shard" : " shards") << " to "
            << options.output.string() << " in " << format_double("%.1f", now_seconds() - start) << " s.\n"
            << "Captions: " << (options.output / "captions.json").string() << "\n";
  return 0;
}

}  // namespace millrace
