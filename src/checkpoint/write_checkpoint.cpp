#include "checkpoint/write_checkpoint.h"

#include <future>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/checkpoint_index.h"
#include "checkpoint/shard_header.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

std::vector<uint64_t> checksums_of(std::span<const TensorView> tensors) {
  std::vector<uint64_t> checksums;
  for (const TensorView& tensor : tensors) checksums.push_back(checksum64(tensor.bytes.data(), tensor.bytes.size()));
  return checksums;
}

// Better to know before than after writing half of it.
void check_free_space(const fs::path& folder, uint64_t needed) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error || space.available >= needed) return;
  throw StorageError(str("[", folder.string(), "] expected ", human_bytes(needed),
                         " of free space for a checkpoint, got ", human_bytes(space.available),
                         " (try a smaller --checkpoint.keep_latest_k)"));
}

CheckpointIndex make_index(int64_t step, std::span<const TensorView> tensors, const std::vector<uint64_t>& checksums,
                           const std::string& file, const CheckpointFile& file_entry, const std::string& state_json) {
  CheckpointIndex index;
  index.step = step;
  index.state_json = state_json;
  index.files[file] = file_entry;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorView& tensor = tensors[i];
    const CheckpointPiece piece = {file, tensor.name, 0, {}, tensor.shape, checksums[i]};
    const bool is_new =
        index.tensors.emplace(tensor.name, CheckpointTensor{tensor.dtype, tensor.shape, {piece}}).second;
    MILLRACE_CHECK(is_new);
  }
  return index;
}

// What the file system has now against what was meant to be written; the bytes themselves are checked when loading.
CheckpointFile read_back(const fs::path& path, std::span<const TensorView> tensors) {
  const SafetensorsFile file(path);
  for (const TensorView& tensor : tensors) {
    const TensorView* found = file.find(tensor.name);
    if (!found || found->dtype != tensor.dtype || found->shape != tensor.shape) {
      throw StorageError(str("[", path.string(), "] expected tensor ", tensor.name, " as written, got something else"));
    }
  }
  return describe_shard(path);
}

void write_files(const fs::path& temporary, int64_t step, std::span<const TensorView> tensors,
                 const std::string& state_json) {
  const std::string shard = shard_file_name(0);
  // Hashing is several times faster than writing and needs another core only.
  std::future<std::vector<uint64_t>> checksums = std::async(std::launch::async, [&] { return checksums_of(tensors); });
  write_safetensors(temporary / shard, tensors, {{"format", "pt"}});
  const CheckpointFile entry = read_back(temporary / shard, tensors);
  const CheckpointIndex index = make_index(step, tensors, checksums.get(), shard, entry, state_json);
  write_file_atomically(temporary / kCheckpointIndexName, to_json(index));
  fsync_folder(temporary);
}

}  // namespace

uint64_t write_checkpoint(const fs::path& folder, int64_t step, std::span<const TensorView> tensors,
                          const std::string& state_json) {
  uint64_t num_bytes = state_json.size();
  for (const TensorView& tensor : tensors) num_bytes += tensor.bytes.size();
  check_free_space(folder, num_bytes + num_bytes / 10);
  const fs::path temporary = temporary_path(folder, step_folder_name(step));
  try {
    create_folders(temporary);
    write_files(temporary, step, tensors, state_json);
    commit_step(folder, temporary, step);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
  return num_bytes;
}

}  // namespace millrace
