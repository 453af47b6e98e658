// The shard files of a checkpoint, each opened and checked when it is first needed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <mutex>
#include <span>
#include <string>

#include "checkpoint/checkpoint_index.h"
#include "formats/safetensors.h"

namespace millrace {

// Thread-safe. Failures are StorageErrors that name the file.
class ShardFiles {
 public:
  ShardFiles(std::filesystem::path folder, std::map<std::string, CheckpointFile> expected);

  // The file must be listed. Checks its size and the checksum of its header.
  const SafetensorsFile& open(const std::string& file);
  // The bytes of a piece of the tensor, in the dtype and shape that the index promises.
  const TensorView& open(const std::string& name, const CheckpointTensor& tensor, const CheckpointPiece& piece);
  // Throws unless the piece's bytes have its checksum.
  void verify(const std::string& name, const CheckpointTensor& tensor, const CheckpointPiece& piece);

 private:
  std::filesystem::path folder_;
  std::map<std::string, CheckpointFile> expected_;
  std::mutex mutex_;
  std::map<std::string, SafetensorsFile> files_;
};

}  // namespace millrace
