// The folder that holds a run's checkpoints: names, what is complete, what a killed process left behind, who writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

std::string step_folder_name(int64_t step);             // "step-00001000"
int64_t parse_step_folder(const std::string& name);     // and back; -1 for any other name
std::string shard_file_name(int rank, int world_size);  // "rank-00003-of-00008.safetensors"; alone: "rank-00000..."
std::filesystem::path temporary_path(const std::filesystem::path& folder, const std::string& purpose);

// The steps of the complete checkpoints in the folder, ascending. A step folder without an index is not complete and is
// ignored, as is everything with another name; a folder that does not exist holds no checkpoints.
std::vector<int64_t> checkpoint_steps(const std::filesystem::path& folder);

// Deletes what unfinished saves and deletions left. Only the process that holds the lock may do this.
void remove_leftovers(const std::filesystem::path& folder);

// Makes `complete` the checkpoint of the step, in one atomic rename when there is none of this step or the file system
// can exchange names. What it replaces is deleted.
void commit_step(const std::filesystem::path& folder, const std::filesystem::path& complete, int64_t step);

// Deletes checkpoints below `step` so that at most keep_latest_k, the one at `step` included, stay; 0 keeps all. Higher
// steps belong to another course of the run and stay. A checkpoint is renamed before its files go, so that it is
// complete or absent. Failures are logged: they endanger no checkpoint.
void remove_old_checkpoints(const std::filesystem::path& folder, int64_t step, int keep_latest_k);

// Keeps other processes from saving into the same folder; ends with the process, however it ends.
class FolderLock {
 public:
  // Waits up to timeout_seconds for a process that is just ending, then throws StorageError.
  explicit FolderLock(const std::filesystem::path& folder, double timeout_seconds = 5);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;  // -1 on file systems without locks
};

}  // namespace millrace
