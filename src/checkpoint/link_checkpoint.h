// A checkpoint's files in a second folder, which stays when the first is deleted.
#pragma once

#include <cstdint>
#include <filesystem>

namespace millrace {

// Makes target, which must not exist, hold the files of the complete checkpoint of the step in the folder of a run's
// checkpoints: by hard links where the file system has them (no second copy on the disk), else as copies. Throws
// StorageError; what is in target then is incomplete.
void link_checkpoint(const std::filesystem::path& folder, int64_t step, const std::filesystem::path& target);

// The same for one file.
void link_or_copy(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace millrace
