// millrace inspect: what is in a file.
#include <algorithm>
#include <iostream>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "command_line.h"
#include "commands.h"
#include "data/hf_dataset.h"
#include "formats/inspect/inspect.h"
#include "inspect_checkpoint.h"

namespace millrace {
namespace {

Report inspect(const std::string& path, const InspectOptions& options) {
  if (is_step_folder(path)) return inspect_checkpoint(path, options);  // also one that lacks its index
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
  ArgumentParser app{
      "What is in a file. It may be a safetensors or GGUF file, the index of several or a folder of them; a "
      "checkpoint, "
      "whose checksums are verified; a tar shard or a folder of shards; an Arrow file or a folder saved by `datasets`; "
      "a profiler trace; TensorBoard events; an .npy array.",
      "millrace inspect"};
  std::string path;
  InspectOptions options;
  bool as_json = false;
  size_t rows = 20;
  options.num_threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  app.add_option("file", path, "File or folder")->required();
  app.add_flag("--json", as_json, "Print JSON, with everything that can be listed");
  app.add_option(
      "--names", options.names,
      "List only tensors, samples, shards, columns, tags or operators whose name matches this shell pattern, "
      "such as 'double_blocks.*.bias'");
  app.add_flag("--stats", options.stats, "Read the tensors: minimum, maximum, mean, standard deviation, NaN, infinity");
  app.add_option("--rows", rows, "Samples or operators to list without --json; 0: all")->capture_default_str();
  if (!parse_command_line(app, args)) return static_cast<int>(ExitCode::kDone);
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
