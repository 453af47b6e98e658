// Writes one checkpoint to disk, complete or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "formats/safetensors.h"

namespace millrace {

// Writes a temporary folder beside the final one: the shard, then the index, each on the disk before the next; reads
// back what the file system says it has; renames. Whatever fails, even the process, the checkpoints that were there
// before stay as they were and no step folder is incomplete. Throws StorageError. Returns the bytes written.
uint64_t write_checkpoint(const std::filesystem::path& folder, int64_t step, std::span<const TensorView> tensors,
                          const std::string& state_json);

}  // namespace millrace
