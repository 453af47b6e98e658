// What is left to fetch: the listing compared with the contents of the output folder.
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
  kPartial,   // an earlier attempt left some of it
  kStale,     // present, but not the listed content: replaced once the right one is complete
  kTrusted,   // present, with the right size; checksum not compared
  kVerified,  // present, with the right checksum, now or in an earlier run
};
const char* name_of(FileStatus status);

struct PlannedFile {
  RemoteFile file;
  FileStatus status = FileStatus::kMissing;
  uint64_t present = 0;       // bytes that need not be transferred
  bool verified_now = false;  // its checksum was computed for this plan
  FileState state;            // of the existing file

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
  bool verify = false;  // compute the checksum of every existing file
  int jobs = 4;
};

// The state folder inside the output folder; nullopt if it does not exist and is not to be created.
std::optional<Folder> open_state_folder(const Folder& root, bool create);

// Asks the server for sizes that the listing lacks, compares with the output folder (which need not exist), and reads
// existing files if requested or quick. progress: gets a description of the current work.
DownloadPlan make_plan(const DownloadContext& context, const std::vector<RemoteFile>& files,
                       const std::filesystem::path& output, const PlanOptions& options,
                       const std::function<void(const std::string&)>& progress);

// Throws StorageError when the output folder's file system has less room than the plan needs.
void check_free_space(const DownloadPlan& plan, const std::filesystem::path& output);

}  // namespace millrace
