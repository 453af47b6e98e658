// report.html: one self-contained page that sums a run up. It needs no network and no other file.
#pragma once

#include <filesystem>
#include <string>

namespace millrace {

struct ReportOptions {
  std::string hardware;  // "": this machine's processor
  bool finished = false;
};

// Reads metrics.jsonl, samples/step-%08d.png and config.toml from the run's folder, whichever are there, and writes
// report.html into it, atomically. At most 24 MiB of sample pictures go in: of more, some between the first and the
// last are left out. Throws StorageError when the page cannot be written.
void write_report(const std::filesystem::path& run_folder, const ReportOptions& options = {});

}  // namespace millrace
