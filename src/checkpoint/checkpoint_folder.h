// The folder that holds a run's checkpoints: names, what is complete, what a killed process left behind.
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

// What is named as a step's folder, whether it is a checkpoint or not.
struct StepFolder {
  int64_t step = 0;
  bool has_index = false;  // without one it is no checkpoint: a copy that broke off, files deleted by hand
};

// All of them, steps ascending; other names are ignored. A folder that does not exist holds none.
std::vector<StepFolder> step_folders(const std::filesystem::path& folder);
// The steps of those with an index, ascending.
std::vector<int64_t> checkpoint_steps(const std::filesystem::path& folder);

// What a step's folder lacks to be a checkpoint, as "[place] expected ..., got ..."; "" when its index is good and
// every file that it lists has its size. Reads no tensors: whether their bytes are good is found out by loading them.
std::string missing_part(const std::filesystem::path& step_folder);

// Deletes what unfinished saves and deletions left. Only the process that holds the lock may do this.
void remove_leftovers(const std::filesystem::path& folder);

// Makes `complete` the checkpoint of the step, in one atomic rename when there is none of this step or the file system
// can exchange names. What it replaces is deleted if it was a complete checkpoint; else it is kept under a name of its
// own, with a warning.
void commit_step(const std::filesystem::path& folder, const std::filesystem::path& complete, int64_t step);

// Deletes checkpoints below `step` so that at most keep_latest_k, the one at `step` included, stay; 0 keeps all. Higher
// steps belong to another course of the run and stay. Folders that lack a part are neither counted nor deleted. A
// checkpoint is renamed before its files go, so that it is complete or absent. Failures are logged: they endanger no
// checkpoint.
void remove_old_checkpoints(const std::filesystem::path& folder, int64_t step, int keep_latest_k);

}  // namespace millrace
