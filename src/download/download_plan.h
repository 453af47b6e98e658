// What is to be done: the listing beside what lies in the output folder already.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "download/folder.h"
#include "download/query.h"
#include "download/remote_file.h"
#include "download/verified_files.h"

namespace millrace {

enum class FileStatus {
  kMissing,
  kPartial,   // an earlier try left some of it
  kStale,     // there, but not the listed content: replaced when the right one is complete
  kTrusted,   // there, with the right size; the checksum has not been compared
  kVerified,  // there, and its checksum was right, now or in an earlier run
};
const char* name_of(FileStatus status);

struct PlannedFile {
  RemoteFile file;
  FileStatus status = FileStatus::kMissing;
  uint64_t present = 0;       // bytes of it that need not come over the network
  bool verified_now = false;  // its checksum was computed for this plan
  FileState state;            // of the file that is there

  bool is_complete() const { return status == FileStatus::kTrusted || status == FileStatus::kVerified; }
};

struct DownloadPlan {
  std::vector<PlannedFile> files;
  uint64_t total_bytes = 0;  // of the sizes that are known
  uint64_t present_bytes = 0;
  size_t unknown_sizes = 0;

  size_t count(FileStatus status) const;
  size_t complete_count() const;
  uint64_t missing_bytes() const { return total_bytes - present_bytes; }
};

struct PlanOptions {
  bool verify = false;  // compute the checksum of every file that is there
  int jobs = 4;
};

// The folder that the output folder keeps for us; nullopt when there is none yet and it is not to be made.
std::optional<Folder> open_state_folder(const Folder& root, bool create);

// Asks the server for sizes that the listing lacks, compares with the output folder (which need not exist), and reads
// existing files where that is asked for or quick. progress: what is being done, for people.
DownloadPlan make_plan(const DownloadContext& context, const std::vector<RemoteFile>& files,
                       const std::filesystem::path& output, const PlanOptions& options,
                       const std::function<void(const std::string&)>& progress);

// Throws StorageError when the output folder's file system has less room than the plan needs.
void check_free_space(const DownloadPlan& plan, const std::filesystem::path& output);

}  // namespace millrace
