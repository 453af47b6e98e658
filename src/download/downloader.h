// Runs a plan: several files at once, until every file is complete or has failed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "download/download_plan.h"
#include "download/query.h"

namespace millrace {

struct DownloadProgress {
  size_t files = 0, files_done = 0;
  uint64_t bytes = 0, bytes_done = 0;  // of all files, complete ones included
  uint64_t received = 0;               // over the network, in this run
  size_t active = 0;                   // transfers under way
};

struct DownloadSummary {
  size_t files_fetched = 0;
  uint64_t received = 0;
  std::vector<std::string> failures;  // a message for each file that could not be fetched
};

// Fetches the plan's missing files into the output folder, which exists, with its state folder locked by the caller.
// progress is called several times a second. Throws DataError when nothing can be fetched (no access, no network),
// StorageError, and Preempted on request; everything received is kept for the next run.
DownloadSummary download(const DownloadContext& context, const DownloadPlan& plan, const std::filesystem::path& output,
                         int jobs, const std::function<void(const DownloadProgress&)>& progress);

}  // namespace millrace
