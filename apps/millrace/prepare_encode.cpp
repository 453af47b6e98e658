// millrace prepare encode, and millrace prepare empty-encodings
#include <algorithm>
#include <csignal>
#include <iostream>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/world.h"
#include "config/arguments.h"
#include "config/run_config.h"
#include "prepare_commands.h"
#include "progress_bar.h"
#include "tasks/encode_dataset/empty_encodings.h"
#include "tasks/encode_dataset/encode_dataset.h"
#include "version.h"

namespace millrace {
namespace {

constexpr const char* kEncodeUsage =
    "usage: millrace prepare encode CONFIG.toml --output DIR [--section.key=value ...]\n"
    "\n"
    "Sends every sample of training.dataset_path through T5, CLIP and the autoencoder once, and writes what comes out "
    "as\n"
    "a Hugging Face data set that `millrace train` and MLPerf's reference train from. The configuration is that of a\n"
    "training run; encoder.*, model.*_in_dim and training.{dataset, dataset_path, img_size, batch_size, subset_size,\n"
    "device, mixed_precision_param, max_bad_samples, num_workers} matter here. Under srun, torchrun or `millrace "
    "launch`\n"
    "the ranks share out the files. Killed and started again, the same command goes on.\n"
    "\n"
    "  --output DIR          where to write; --preprocessing.output_dataset_path=DIR is the same\n"
    "  --rows-per-file N     samples in one Arrow file; by default as many as fill about 500 MB, at most 10,000\n"
    "  --section.key=value   set an option of the configuration (see millrace train --help)\n"
    "  --help                this text\n";

constexpr const char* kEmptyUsage =
    "usage: millrace prepare empty-encodings CONFIG.toml --output DIR [--section.key=value ...]\n"
    "\n"
    "Writes t5_empty.npy and clip_empty.npy, the encodings of the empty prompt, for encoder.empty_encodings_path.\n"
    "Does nothing when they are there.\n"
    "\n"
    "  --output DIR          where to write\n"
    "  --section.key=value   set an option of the configuration (see millrace train --help)\n"
    "  --help                this text\n";

struct PrepareArguments {
  bool help = false;
  std::string config_file, output;
  std::optional<int64_t> rows_per_file;
  std::vector<std::string> overrides;
};

int64_t positive_number(const std::string& option, const std::string& text) {
  const bool digits = !text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789") == std::string::npos;
  const int64_t value = digits ? std::stoll(text) : 0;
  if (value < 1) throw ConfigError("[" + option + "] expected a number of at least 1, got " + text);
  return value;
}

PrepareArguments read_arguments(const std::string& command, const std::vector<std::string>& args) {
  PrepareArguments result;
  std::vector<std::string> rest;
  // This command's own options; the others are the configuration's.
  for (size_t i = 0; i < args.size(); ++i) {
    const size_t equals = args[i].find('=');
    std::string name = args[i].substr(0, equals);
    std::replace(name.begin(), name.end(), '_', '-');
    const bool is_output = name == "--output" || name == "-o" || name == "--preprocessing.output-dataset-path";
    const bool is_rows = name == "--rows-per-file";
    if (!is_output && !is_rows) {
      rest.push_back(args[i]);
      continue;
    }
    if (equals == std::string::npos && i + 1 == args.size()) {
      throw ConfigError("[" + args[i] + "] expected a value, got nothing");
    }
    const std::string value = equals == std::string::npos ? args[++i] : args[i].substr(equals + 1);
    if (is_output) result.output = value;
    if (is_rows) result.rows_per_file = positive_number(name, value);
  }
  const Arguments split = split_arguments(rest);
  result.config_file = split.config_file;
  result.overrides = split.overrides;
  const std::string hint = " (try millrace prepare " + command + " --help)";
  for (const std::string& flag : split.others) {
    if (flag != "--help" && flag != "-h") throw ConfigError("[" + flag + "] expected an option of this command" + hint);
    result.help = true;
  }
  if (result.help) return result;
  for (const std::string& file : split.positional) {
    if (!result.config_file.empty()) {
      throw ConfigError("[" + file + "] expected one configuration file, got " + result.config_file + " as well");
    }
    result.config_file = file;
  }
  if (result.config_file.empty()) {
    throw ConfigError("[millrace prepare " + command + "] expected a configuration file, got none" + hint);
  }
  if (result.output.empty()) throw ConfigError("[--output] expected a folder, got nothing" + hint);
  return result;
}

}  // namespace

int run_prepare_encode(const std::vector<std::string>& args) {
  const PrepareArguments arguments = read_arguments("encode", args);
  if (arguments.help) {
    std::cout << kEncodeUsage;
    return static_cast<int>(ExitCode::kDone);
  }
  const World world = detect_world();
  // What all ranks would say alike, the first says.
  if (world.rank > 0) set_console_log_level(LogLevel::kError);
  const RunConfig config = load_run_config(arguments.config_file, arguments.overrides);
  mesh_degrees(config, world.size);
  if (world.rank > 0) set_console_log_level(LogLevel::kWarning);
  std::signal(SIGPIPE, SIG_IGN);  // a closed terminal must not end the work of days

  EncodeOptions options;
  options.output = arguments.output;
  options.rows_per_file = arguments.rows_per_file.value_or(0);
  std::optional<ProgressBar> bar;
  options.progress = [&](int64_t done, int64_t total) {
    const bool is_first = !bar;  // then `done` is what an earlier run has done
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
  const PrepareArguments arguments = read_arguments("empty-encodings", args);
  if (arguments.help) {
    std::cout << kEmptyUsage;
    return static_cast<int>(ExitCode::kDone);
  }
  if (arguments.rows_per_file) throw ConfigError("[--rows-per-file] expected an option of this command");
  if (detect_world().rank > 0) return static_cast<int>(ExitCode::kDone);
  const RunConfig config = load_run_config(arguments.config_file, arguments.overrides);
  const bool written = write_empty_encodings(config, arguments.output);
  std::cout << (written ? "Wrote" : "Found") << " t5_empty.npy and clip_empty.npy in " << arguments.output << ".\n";
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
