// The record of a run's files for other programs, results.json in its folder: of which step they are, and what belongs
// to them, so that the next start writes those that a full disk or the end of a process prevented.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "train/train_state.h"

namespace millrace {

// What the step loop has the task write (Task::write_result), of the newest step and of the best.
inline constexpr const char* kStepResult = "step";
inline constexpr const char* kBestResult = "best";

// After a result is complete: notes its step, its files, and the files of its folders. One process at a time does so in
// a run's folder. Throws StorageError.
void note_result(const std::filesystem::path& run_folder, const std::string& result, int64_t step,
                 const std::vector<std::filesystem::path>& files_and_folders);

// Whether the result was noted of this step or a later one, and nothing of it is missing: files of weights have the
// sizes that they had then, others, which people edit, are there.
bool has_result(const std::filesystem::path& run_folder, const std::string& result, int64_t step);

// The same of both results of the step loop; the best only where this step's is.
bool has_step_results(const RunConfig& config, const Progress& progress);

// Call it before a run trains beyond this step: results of later steps belong to another course. Throws StorageError.
void forget_results_after(const std::filesystem::path& run_folder, int64_t step);

}  // namespace millrace
