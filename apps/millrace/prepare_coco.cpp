// millrace prepare coco: the validation set.
#include <iostream>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "command_line.h"
#include "prepare/coco.h"
#include "prepare_commands.h"
#include "prepare_share.h"
#include "progress_bar.h"

namespace millrace {
namespace {

void add_coco_options(CLI::App& app, CocoOptions& options, int& num_workers) {
  app.add_option("--input-images-dir", options.images, "Folder of the pictures: val2014")->required();
  app.add_option("--input-captions-file", options.table.captions_file, "annotations/captions_val2014.json")->required();
  app.add_option("--output-dir", options.output, "Folder for the shards, shard_00000.tar and so on")->required();
  app.add_option("--output-tsv-file", options.tsv, "The captions chosen: image_id, id, caption, timestep")->required();
  app.add_option("--num-samples", options.table.num_samples, "Number of captions")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", options.table.seed, "Seed of the shuffle, which is pandas'")->capture_default_str();
  app.add_option("--width", options.width, "Pixels; aspect ratios are not preserved")->capture_default_str();
  app.add_option("--height", options.height, "Pixels")->capture_default_str();
  app.add_option("--samples-per-shard", options.samples_per_shard, "Samples in one tar file")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--num-workers", num_workers, "Threads; 0: one for each core")->capture_default_str();
  app.add_option("--allow-duplicate-images", options.table.allow_duplicate_images,
                 "Allow several captions per picture (as a flag, or with true or false)")
      ->expected(0, 1)
      ->default_str("true")  // alone
      ->option_text("[true|false]");
  app.add_option("--max-bad-samples", options.max_bad_fraction,
                 "Stop when more than this fraction of the pictures is missing or damaged")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
}

}  // namespace

int run_prepare_coco(const std::vector<std::string>& args) {
  ArgumentParser app(
      "Writes the set that FLUX is validated on: COCO's pictures scaled to one size, one caption each, a timestep with "
      "each caption. The MLPerf reference's coco_to_webdataset.py, with its options; the same captions are chosen. A "
      "stopped run continues when the command is repeated, and the same command on several ranks shares the work.",
      "millrace prepare coco");
  CocoOptions options;
  int num_workers = 0;
  add_coco_options(app, options, num_workers);
  if (!parse_command_line(app, args)) return static_cast<int>(ExitCode::kDone);

  options.share = prepare_share(num_workers);
  const double start = now_seconds();
  ProgressBar bar("pictures");
  const CocoSummary summary = write_coco_shards(options, show_progress(options.share, bar));
  bar.finish();
  if (options.share.rank != 0) return static_cast<int>(ExitCode::kDone);
  std::cout << (summary.was_complete ? "Was complete already: " : "Wrote ") << with_thousands(summary.samples)
            << " pictures of " << options.width << " x " << options.height << " in " << summary.shards
            << (summary.shards == 1 ? " shard" : " shards") << " to " << options.output.string() << " in "
            << format_double("%.1f", now_seconds() - start) << " s; their captions: " << options.tsv.string() << "\n";
  if (!summary.bad.empty()) {
    std::cout << summary.bad.size() << " pictures were missing or damaged (.prepare.json there names them).\n";
  }
  const auto captions = summary.samples + static_cast<int64_t>(summary.bad.size());
  if (captions < options.table.num_samples)
    log_warning("the captions give ", captions, " samples, fewer than --num-samples ", options.table.num_samples);
  if (captions % 8 != 0) log_warning(captions, " samples do not divide evenly among 8 timesteps");
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
