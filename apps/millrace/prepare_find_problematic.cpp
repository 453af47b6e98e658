// millrace prepare find-problematic: the samples that cannot be decoded.
#include <iostream>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "command_line.h"
#include "prepare/find_problematic.h"
#include "prepare_commands.h"
#include "prepare_share.h"
#include "progress_bar.h"

namespace millrace {

int run_prepare_find_problematic(const std::vector<std::string>& args) {
  ArgumentParser app(
      "Lists the samples whose picture, text or JSON cannot be decoded: their indices over the whole set, one a line, "
      "as the MLPerf reference's find_problematic_indices.py does. A stopped run continues when the command is "
      "repeated.",
      "millrace prepare find-problematic");
  FindProblematicOptions options;
  int num_workers = 0;
  app.add_option("--input-dir,--input", options.input,
                 "The set: a folder or pattern of WebDataset shards, or a folder saved by `datasets`")
      ->required();
  app.add_option("--output-file,--output", options.output, "The list")->capture_default_str();
  app.add_option("--reasons", options.reasons, "Also write a TSV of index, name and problem");
  app.add_option("--num-workers", num_workers, "Threads; 0: one for each core")->capture_default_str();
  app.add_option("--batch-size", options.samples_per_unit, "Samples that a thread processes at a time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("--allow-damaged-shards", options.allow_damaged_shards, "Use the intact part of truncated shards");
  if (!parse_command_line(app, args)) return static_cast<int>(ExitCode::kDone);

  options.share = prepare_share(num_workers);
  const double start = now_seconds();
  ProgressBar bar("samples");
  const FindProblematicSummary summary = find_problematic(options, show_progress(options.share, bar));
  bar.finish();
  if (options.share.rank != 0) return static_cast<int>(ExitCode::kDone);
  std::cout << with_thousands(static_cast<int64_t>(summary.problems.size())) << " of "
            << with_thousands(summary.samples) << " samples cannot be decoded; " << options.output.string()
            << " lists them (" << format_double("%.1f", now_seconds() - start) << " s).\n";
  constexpr size_t kShown = 10;
  for (size_t i = 0; i < summary.problems.size() && i < kShown; ++i) {
    std::cout << "  " << summary.problems[i]["index"] << ": "
              << json_escape(summary.problems[i]["problem"].get<std::string>()) << "\n";
  }
  if (summary.problems.size() > kShown) std::cout << "  ...\n";
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
