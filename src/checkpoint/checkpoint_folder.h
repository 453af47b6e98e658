// The folder of a run's checkpoints: names, complete checkpoints, and leftovers of killed processes.
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

// An entry with the name of a step's folder, whether it is a checkpoint or not.
struct StepFolder {
  int64_t step = 0;
  bool has_index = false;  // without one it is not a checkpoint: an interrupted copy, files deleted by hand
};

// All of them, steps ascending; other names are ignored. A folder that does not exist holds none.
std::vector<StepFolder> step_folders(const std::filesystem::path& folder);
// The steps of those with an index, ascending.
std::vector<int64_t> checkpoint_steps(const std::filesystem::path& folder);

// Why a step's folder is not a checkpoint, as "[place] expected ..., got ..."; "" when its index is valid and every
// file it lists has the right size. Reads no tensors: only loading verifies their bytes.
std::string missing_part(const std::filesystem::path& step_folder);

// Deletes leftovers of unfinished saves and deletions. Only the process that holds the lock may call it.
void remove_leftovers(const std::filesystem::path& folder);

// Makes `complete` the checkpoint of the step, in one atomic rename if the step has none yet or the file system can
// exchange names. A complete checkpoint that it replaces is deleted; anything else is kept under another name, with a
// warning.
void commit_step(const std::filesystem::path& folder, const std::filesystem::path& complete, int64_t step);

// Deletes checkpoints below `step` so that at most keep_latest_k remain, including the one at `step`; 0 keeps all.
// Higher steps belong to an earlier course of the run and remain. Incomplete folders are neither counted nor deleted. A
// checkpoint is renamed before its files are deleted, so that it is complete or absent. Failures are only logged: no
// checkpoint is at risk.
void remove_old_checkpoints(const std::filesystem::path& folder, int64_t step, int keep_latest_k);

}  // namespace millrace
