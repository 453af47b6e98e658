// The part of a shard that no tensor's checksum covers.
#pragma once

#include <filesystem>

#include "checkpoint/checkpoint_index.h"

namespace millrace {

// Size and header checksum of a safetensors file. Throws StorageError when it is too short to be one.
CheckpointFile describe_shard(const std::filesystem::path& path);

}  // namespace millrace
