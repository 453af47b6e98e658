// A complete checkpoint, verified, with its tensors still on the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_index.h"
#include "checkpoint/named_tensor.h"
#include "formats/safetensors.h"

namespace millrace {

// What to do with tensors of the checkpoint that nobody asked for.
enum class Surplus { kRefuse, kIgnore };

class LoadedCheckpoint {
 public:
  // Opens and verifies every file, piece and checksum. Throws StorageError naming the first that is damaged.
  explicit LoadedCheckpoint(const std::filesystem::path& step_folder);

  int64_t step() const { return index_.step; }
  int64_t world_size() const { return index_.world_size; }  // of the run that wrote it
  const std::string& state_json() const { return index_.state_json; }
  const std::map<std::string, CheckpointTensor>& tensors() const { return index_.tensors; }

  // The whole tensor, on the CPU; read-only and mapped from the file when it is one piece. Stays valid when this is
  // gone. Throws ModelError when there is none of this name.
  torch::Tensor tensor(const std::string& name) const;

  // Fills existing tensors, on whatever device, without a second copy in memory. Throws ModelError listing the first
  // few missing, surplus or different in shape or dtype; then nothing was changed.
  void copy_into(const std::vector<NamedTensor>& tensors, Surplus surplus = Surplus::kRefuse) const;

 private:
  const TensorView& view_of(const CheckpointPiece& piece) const;
  torch::Tensor piece_tensor(const CheckpointPiece& piece) const;
  void check_pieces(const std::string& name, const CheckpointTensor& tensor) const;
  void check_checksums() const;
  void copy_pieces(const CheckpointTensor& source, const torch::Tensor& target) const;

  std::filesystem::path folder_;
  CheckpointIndex index_;
  std::map<std::string, SafetensorsFile> files_;
};

// Loads and verifies a step from the folder that holds a run's checkpoints; -1 is the latest. Reading needs no lock and
// changes nothing. Throws StorageError when there is none, and when it is damaged: then the message names the newest
// complete one before it.
LoadedCheckpoint load_checkpoint(const std::filesystem::path& folder, int64_t step = -1);

}  // namespace millrace
