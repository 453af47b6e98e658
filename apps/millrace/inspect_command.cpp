// millrace inspect: shows the contents of a file.
#include <algorithm>
#include <iostream>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "command_line.h"
#include "commands.h"
#include "data/hf_dataset.h"
#include "formats/inspect/inspect.h"
#include "inspect_checkpoint.h"
#include "inspect_picture_sets.h"
#include "inspect_texts.h"

namespace millrace {
namespace {

Report inspect(const std::string& path, const InspectOptions& options) {
  if (is_step_folder(path)) return inspect_checkpoint(path, options);  // also one without an index
  switch (detect_file_kind(path)) {
    case FileKind::kWeights:
      return inspect_weights(path, options);
    case FileKind::kNpy:
      return inspect_npy(path, options);
    case FileKind::kTar:
      return inspect_tar(path, options);
    case FileKind::kDataSet:
      return inspect_data_set(path, options);
    case FileKind::kArrow:
      return inspect_arrow_file(path, options);
    case FileKind::kArrowDataSet:
      return inspect_arrow_files(path, list_hf_dataset(path, /*must_be_whole=*/false), options);
    case FileKind::kEvents:
      return inspect_events(path, options);
    case FileKind::kTrace:
      return inspect_trace(path, options);
    case FileKind::kCheckpoint:
      return inspect_checkpoint(path, options);
  }
  MILLRACE_CHECK(false);
}

}  // namespace

int run_inspect(const std::vector<std::string>& args) {
  for (const std::string& word : args) {
    const bool is_of_text = is_run_configuration(word) || is_rows_of_text(word) || starts_with(word, "--finetune.");
    if (is_of_text) return inspect_texts(args);
  }
  ArgumentParser app{
      "Shows the contents of a file: a safetensors or GGUF file, the index of several or a folder of them; a "
      "checkpoint, "
      "whose checksums are verified; a tar shard or a folder of shards; an Arrow file or a folder saved by "
      "`datasets`; a profiler trace; TensorBoard events; an .npy array; a data set file of pictures in folders "
      "(TOML or JSON, as for sd-scripts), whose buckets, batches and captions are listed and whose pictures are "
      "checked; a folder of folders such as 10_cat, as training takes it; a file of prompts; the configuration of a "
      "language model's run, or a file of its rows, which are "
      "tokenised. Options of "
      "data sets, such as --train_batch_size 4 or --train_data_dir "
      "FOLDER, are sd-scripts'.",
      "millrace inspect"};
  std::string path;
  InspectOptions options;
  PictureInspectOptions picture_options;
  bool as_json = false;
  size_t rows = 20;
  options.num_threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  app.add_option("file", path, "File or folder");
  app.add_flag("--json", as_json, "Print JSON, including everything that can be listed");
  app.add_option(
      "--names", options.names,
      "List only tensors, samples, shards, columns, tags or operators whose name matches this shell pattern, "
      "such as 'double_blocks.*.bias'");
  app.add_flag("--stats", options.stats, "Read the tensors: minimum, maximum, mean, standard deviation, NaN, infinity");
  app.add_option("--rows", rows, "Samples or operators to list without --json; 0: all")->capture_default_str();
  app.add_flag("--per-image", picture_options.per_image, "Of data sets: list every picture, its bucket and caption");
  app.add_option("--captions", picture_options.num_captions,
                 "Of data sets: every picture's captions as they are trained in this many epochs")
      ->check(CLI::Range(0, 10000));
  app.add_option("--seed", picture_options.seed, "Of data sets: the run's seed, for captions and validation")
      ->capture_default_str();
  app.add_option("--sheet", picture_options.sheet,
                 "Of data sets: write thumbnails with what the crop keeps of each picture to this PNG");
  app.add_flag("--headers-only", picture_options.headers_only,
               "Of data sets: do not decode the pictures to find damage and near duplicates");
  app.add_flag("--sd-scripts-limits", picture_options.sd_scripts_limits,
               "Of data sets: refuse what sd-scripts' FLUX LoRA trainer refuses, bucket_reso_steps that are not "
               "multiples of 64");
  const DatasetArguments dataset = parse_dataset_arguments(args);
  if (!parse_command_line(app, dataset.rest, dataset_argument_names())) return static_cast<int>(ExitCode::kDone);
  if (path.empty()) path = dataset.dataset_config;
  const bool has_arguments = !dataset.settings.command_line.items.empty() || dataset.settings.masked_loss ||
                             !dataset.train_data_dir.empty() || !dataset.dataset_config.empty();
  if (path.empty() && dataset.train_data_dir.empty()) {
    throw ConfigError("[millrace inspect] expected a file or folder, got none (try millrace inspect --help)");
  }
  picture_options.as_json = as_json;
  picture_options.num_threads = options.num_threads;
  if (dataset.train_data_dir.empty() && has_picture_folders(path)) {
    inspect_picture_sets("", arguments_of_folder(path, dataset), picture_options);
    return static_cast<int>(ExitCode::kDone);
  }
  if (path.empty() || is_picture_set_file(path)) {
    inspect_picture_sets(path, dataset, picture_options);
    return static_cast<int>(ExitCode::kDone);
  }
  if (has_arguments || picture_options.any()) {
    throw ConfigError("[" + path + "] expected a data set file for options of data sets, got another file");
  }
  if (is_prompt_file(path)) {
    inspect_prompts(path, as_json);
    return static_cast<int>(ExitCode::kDone);
  }
  options.max_listed = as_json ? 0 : rows;
  const Report report = inspect(path, options);
  if (as_json) {
    // Paths need not be UTF-8.
    std::cout << report.dump(2, ' ', false, Report::error_handler_t::replace) << "\n";
  } else {
    std::cout << path << ": " << report_text(report);
  }
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
