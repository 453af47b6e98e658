// The checkpoint that a run keeps under a fixed name, because its validation was the best.
#pragma once

#include <cstdint>
#include <filesystem>

namespace millrace {

inline constexpr const char* kBestCheckpointName = "best";  // in the folder of the run's checkpoints
inline constexpr int64_t kBestStep = -2;                    // for what takes a step, where -1 is the latest

// Keeps the complete checkpoint of the step as the best, in place of the one before. Its files are the step's own, by
// hard links where the file system has them (no second copy on the disk), else copied; so it stays when the step's
// folder is deleted. A process that is killed meanwhile leaves the one before, the new one or, where the file system
// cannot exchange two names, none: calling it again repairs that. Throws StorageError.
void keep_best_checkpoint(const std::filesystem::path& folder, int64_t step);

}  // namespace millrace
