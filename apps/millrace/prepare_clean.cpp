// millrace prepare clean: pictures of one size, without the unusable ones.
#include <iostream>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "command_line.h"
#include "prepare/clean.h"
#include "prepare_commands.h"
#include "prepare_share.h"
#include "progress_bar.h"

namespace millrace {
namespace {

void add_clean_options(CLI::App& app, CleanOptions& options, int& num_workers, int64_t& batch_size) {
  app.add_option("--input-dir,--input", options.input,
                 "The set: a folder or pattern of WebDataset shards, or a folder saved by `datasets`")
      ->required();
  app.add_option("--output-dir,--output", options.output, "A folder that datasets.load_from_disk opens")->required();
  app.add_option("--filter-file", options.filter_file, "Indices of samples to leave out, one a line");
  app.add_option("--output-size", options.output_size, "Pixels a side; pictures with a shorter side are left out")
      ->capture_default_str();
  app.add_option("--subset-size", options.subset_size, "Keep only the first ones, this many; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--image-column", options.image_column,
                 "Column of the pictures (default: jpg, or the only picture column)");
  app.add_option("--num-workers", num_workers, "Threads; 0: one for each core")->capture_default_str();
  app.add_option("--samples-per-file", options.samples_per_file, "Samples of the input for each file of the output")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-bad-samples", options.max_bad_fraction,
                 "Stop when more than this fraction of the samples is unusable")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_flag("--allow-damaged-shards", options.allow_damaged_shards, "Use the intact part of truncated shards");
  app.add_option("--batch-size", batch_size, "Accepted for compatibility with the reference; has no effect");
}

}  // namespace

int run_prepare_clean(const std::vector<std::string>& args) {
  ArgumentParser app(
      "Leaves out samples that are listed, damaged or too small, and gives each of the first --subset-size others a "
      "square picture: shorter side scaled to --output-size (bicubic), centre cropped, in a new column png. All other "
      "columns are kept. The MLPerf reference's clean_cc12m.py. A stopped run continues when the command is repeated, "
      "and the same command on several ranks shares the work.",
      "millrace prepare clean");
  CleanOptions options;
  int num_workers = 0;
  int64_t batch_size = 0;
  add_clean_options(app, options, num_workers, batch_size);
  if (!parse_command_line(app, args)) return static_cast<int>(ExitCode::kDone);

  options.share = prepare_share(num_workers);
  const double start = now_seconds();
  ProgressBar bar("pictures");
  const CleanSummary summary = clean_samples(options, show_progress(options.share, bar));
  bar.finish();
  if (options.share.rank != 0) return static_cast<int>(ExitCode::kDone);
  std::cout << (summary.was_complete ? "Was complete already: " : "Wrote ") << with_thousands(summary.rows)
            << " pictures of " << options.output_size << " x " << options.output_size << " in "
            << with_thousands(summary.files) << (summary.files == 1 ? " file" : " files") << " to "
            << options.output.string() << " in " << format_double("%.1f", now_seconds() - start) << " s.\n"
            << "Of " << with_thousands(summary.seen) << " samples " << with_thousands(summary.small)
            << " were smaller, " << with_thousands(summary.filtered) << " filtered, "
            << with_thousands(static_cast<int64_t>(summary.bad.size())) << " bad (.prepare.json there names them).\n";
  if (options.subset_size > summary.rows)
    log_warning("the set has fewer usable pictures than --subset-size ", options.subset_size);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
