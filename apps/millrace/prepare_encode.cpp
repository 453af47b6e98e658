// millrace prepare encode, and millrace prepare empty-encodings
#include <iostream>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/world.h"
#include "command_line.h"
#include "config/arguments.h"
#include "config/run_config.h"
#include "diffusion/flux_run_config.h"
#include "prepare/encode/empty_encodings.h"
#include "prepare/encode/encode_dataset.h"
#include "prepare_commands.h"
#include "progress_bar.h"
#include "tasks/task_table.h"
#include "version.h"

namespace millrace {
namespace {

struct PrepareArguments {
  std::string config_file, output;
  std::vector<std::string> overrides;
};

// False if --help was given and printed.
bool read_arguments(ArgumentParser& app, const std::vector<std::string>& args, PrepareArguments& arguments) {
  app.add_option("config", arguments.config_file, "The training configuration (TOML)");
  app.add_option("-o,--output,--preprocessing.output-dataset-path", arguments.output, "Folder to write to")
      ->type_name("DIR")
      ->take_last();
  app.footer(
      app.get_name() +
      " CONFIG.toml --output DIR [--section.key=value ...]\nOptions of the configuration: millrace train --help");
  std::string option_file;
  if (!parse_with_overrides(app, args, arguments.overrides, &option_file)) return false;
  if (!arguments.config_file.empty() && !option_file.empty()) {
    throw ConfigError("[" + arguments.config_file + "] expected one configuration file, got " + option_file +
                      " as well");
  }
  if (arguments.config_file.empty()) arguments.config_file = option_file;
  const std::string hint = " (try " + app.get_name() + " --help)";
  if (arguments.config_file.empty()) {
    throw ConfigError("[" + app.get_name() + "] expected a configuration file, got none" + hint);
  }
  if (arguments.output.empty()) throw ConfigError("[--output] expected a folder, got nothing" + hint);
  return true;
}

}  // namespace

int run_prepare_encode(const std::vector<std::string>& args) {
  ArgumentParser app(
      "Encodes every sample of training.dataset_path with T5, CLIP and the autoencoder once, and writes the results as "
      "a Hugging Face data set that `millrace train` and MLPerf's reference train from. The configuration is that of a "
      "training run; encoder.*, model.*_in_dim and training.{dataset, dataset_path, img_size, batch_size, subset_size, "
      "device, mixed_precision_param, max_bad_samples, num_workers} matter here. Under srun, torchrun or `millrace "
      "launch` the ranks divide the files. After a kill, the same command resumes.",
      "millrace prepare encode");
  PrepareArguments arguments;
  EncodeOptions options;
  app.add_option("--rows-per-file", options.rows_per_file,
                 "Samples in one Arrow file; by default as many as fill about 500 MB, at most 10,000")
      ->check(CLI::Range(1, 999'999'999))
      ->type_name("N");
  app.add_flag("--allow-damaged-shards", options.allow_damaged_shards, "Use the intact part of truncated files");
  if (!read_arguments(app, args, arguments)) return static_cast<int>(ExitCode::kDone);
  const World world = detect_world();
  // Messages that are the same on all ranks come from the first only.
  if (world.rank > 0) set_console_log_level(LogLevel::kError);
  const std::unique_ptr<RunConfig> loaded = load_task_config(arguments.config_file, arguments.overrides);
  const FluxRunConfig& config = as_flux(*loaded);
  mesh_degrees(config, world.size);
  if (world.rank > 0) set_console_log_level(LogLevel::kWarning);

  options.output = arguments.output;
  std::optional<ProgressBar> bar;
  options.progress = [&](int64_t done, int64_t total) {
    const bool is_first = !bar;  // then `done` counts an earlier run's work
    if (is_first) bar.emplace("samples");
    bar->update(done, total, !is_first);
  };
  const double start = now_seconds();
  const EncodeSummary summary = encode_dataset(config, options, world, program_build());
  if (bar) bar->finish();
  if (world.rank > 0) return static_cast<int>(ExitCode::kDone);
  std::cout << (summary.encoded_now > 0 ? "Wrote " : "Found ") << with_thousands(summary.rows) << " samples in "
            << summary.files << (summary.files == 1 ? " file" : " files") << " in " << arguments.output;
  if (summary.encoded_now > 0) std::cout << " in " << human_duration(now_seconds() - start);
  if (summary.bad > 0) std::cout << "; left out " << with_thousands(summary.bad) << " bad ones";
  if (summary.small > 0) {
    std::cout << (summary.bad > 0 ? " and " : "; left out ") << with_thousands(summary.small) << " small pictures";
  }
  std::cout << ".\n";
  return static_cast<int>(ExitCode::kDone);
}

int run_prepare_empty_encodings(const std::vector<std::string>& args) {
  ArgumentParser app(
      "Writes t5_empty.npy and clip_empty.npy, the encodings of the empty prompt, for encoder.empty_encodings_path. "
      "Does nothing if they exist.",
      "millrace prepare empty-encodings");
  PrepareArguments arguments;
  if (!read_arguments(app, args, arguments)) return static_cast<int>(ExitCode::kDone);
  if (detect_world().rank > 0) return static_cast<int>(ExitCode::kDone);
  const std::unique_ptr<RunConfig> loaded = load_task_config(arguments.config_file, arguments.overrides);
  const FluxRunConfig& config = as_flux(*loaded);
  const bool written = write_empty_encodings(config, arguments.output);
  std::cout << (written ? "Wrote" : "Found") << " t5_empty.npy and clip_empty.npy in " << arguments.output << ".\n";
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
