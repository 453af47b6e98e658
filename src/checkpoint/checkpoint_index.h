// index.json: the contents of a checkpoint and the location of each piece of each tensor.
//
// Plain JSON (docs/checkpoints.md describes every field). A tensor is the union of pieces; a piece is one tensor of one
// shard file. Pieces never overlap and together cover their tensor, however many ranks wrote them, so that any number
// of ranks can read them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/tensor_region.h"
#include "formats/dtype.h"

namespace millrace {

struct CheckpointPiece {
  std::string file;  // name of a shard file in the checkpoint's folder
  std::string name;  // the tensor's name in it
  // The piece's position in the whole tensor. With `start`, a box: its first corner, one index per dimension. Without,
  // a run of the tensor flattened in row-major order, beginning at element `offset`.
  int64_t offset = 0;
  std::vector<int64_t> start;
  std::vector<int64_t> shape;
  uint64_t checksum = 0;  // checksum64 of the piece's bytes
};

struct CheckpointTensor {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::vector<CheckpointPiece> pieces;
};

struct CheckpointFile {
  uint64_t size = 0;
  uint64_t header_checksum = 0;  // checksum64 of everything before the tensors' bytes
};

struct CheckpointIndex {
  int64_t step = 0;
  int64_t world_size = 1;
  std::map<std::string, CheckpointFile> files;
  std::map<std::string, CheckpointTensor> tensors;
  std::string state_json = "{}";  // an object: whatever else the run needs
  std::string own_checksum;       // of the text that was read
};

inline constexpr int64_t kCheckpointFormatVersion = 1;
inline constexpr char kCheckpointIndexName[] = "index.json";

// The text carries its own checksum.
std::string to_json(const CheckpointIndex& index);

// Reads the fields and checks each separately; the pieces may come from some of the ranks only. Throws StorageError
// naming the place.
CheckpointIndex parse_checkpoint_index(const std::string& text, const std::string& place);
// Adds the files and pieces that another rank wrote. Throws StorageError when the ranks disagree about a tensor.
void add_part(CheckpointIndex& index, CheckpointIndex part);
// Throws StorageError unless the pieces cover their tensors exactly.
void check_complete(const CheckpointIndex& index, const std::string& place);

// Reads and checks everything that can be checked without the shards: the checksum, the fields, that pieces cover their
// tensors exactly, that file names stay in the folder. Throws StorageError naming the place.
CheckpointIndex read_checkpoint_index(const std::filesystem::path& path);

TensorRegion region_of(const CheckpointPiece& piece);

// The number of elements of a shape; throws StorageError naming `place` when negative or above 2^48.
int64_t checked_num_elements(const std::string& place, const std::vector<int64_t>& shape);

}  // namespace millrace
