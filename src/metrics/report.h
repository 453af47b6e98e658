// report.html: one self-contained page that summarises a run. It needs no network and no other file.
#pragma once

#include <filesystem>
#include <string>

namespace millrace {

struct ReportOptions {
  std::string hardware;  // "": this machine's processor
  bool finished = false;
};

// Reads metrics.jsonl, samples/step-%08d.png or .txt, answers.json and config.toml from the run's folder, if present,
// and writes report.html into it, atomically. Includes at most 24 MiB of sample pictures, leaving out some between the
// first and the last if necessary. Throws StorageError when the page cannot be written.
void write_report(const std::filesystem::path& run_folder, const ReportOptions& options = {});

}  // namespace millrace
