// millrace prepare emoji: the data set of the quickstart.
#include <CLI/CLI.hpp>
#include <iostream>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "command_line.h"
#include "prepare/emoji/emoji_dataset.h"
#include "prepare_commands.h"
#include "progress_bar.h"

namespace millrace {
namespace {

void add_emoji_options(CLI::App& emoji, EmojiDatasetOptions& options, std::string& background, std::string& style) {
  emoji.add_option("--output", options.output, "Folder for the shards")->required();
  emoji.add_option("--size", options.size, "Pixels a side")->capture_default_str();
  emoji.add_option("--count", options.count, "Take only the first ones, this many, best known first (0: all)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  emoji.add_option("--only", options.only,
                   "File that lists the emoji to take, one a line, each with an optional caption");
  emoji.add_option("--filter", options.filter,
                   "Take only emoji with one of these words in their caption: heart,face,apple");
  emoji.add_option("--background", background, "white, black, grey or #RRGGBB")->capture_default_str();
  emoji.add_option("--style", style, "plain, outline (dark lines on white) or duotone (dark blue to yellow)")
      ->capture_default_str();
  emoji.add_option("--samples-per-shard", options.samples_per_shard, "Pictures in one tar file")->capture_default_str();
  emoji.add_option("--font", options.font, "Emoji font with colour bitmaps (Debian: fonts-noto-color-emoji)")
      ->capture_default_str();
  emoji.add_option("--annotations", options.annotations, "CLDR names of emoji (Debian: unicode-cldr-core)")
      ->capture_default_str();
}

}  // namespace

int run_prepare_emoji(const std::vector<std::string>& args) {
  ArgumentParser app("Captioned emoji as WebDataset shards, from an installed font.", "millrace prepare emoji");
  EmojiDatasetOptions options;
  std::string background = "white", style = "plain";
  add_emoji_options(app, options, background, style);
  if (!parse_command_line(app, args)) return static_cast<int>(ExitCode::kDone);

  options.background = parse_colour(background);
  options.style = parse_emoji_style(style);
  const double start = now_seconds();
  ProgressBar bar("pictures");
  const EmojiDatasetSummary summary =
      write_emoji_dataset(options, [&](int64_t done, int64_t total) { bar.update(done, total); });
  bar.finish();
  std::cout << "Wrote " << with_thousands(summary.samples) << " pictures of " << options.size << " x " << options.size
            << " in " << summary.shards << (summary.shards == 1 ? " shard" : " shards") << " to "
            << options.output.string() << " in " << format_double("%.1f", now_seconds() - start) << " s.\n"
            << "Captions: " << (options.output / "captions.json").string() << "\n";
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
