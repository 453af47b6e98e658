#include "checkpoint/shard_files.h"

#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "checkpoint/shard_header.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

SafetensorsFile open_shard(const fs::path& path, const CheckpointFile& expected) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (error) throw StorageError(str("[", path.string(), "] expected a file, got: ", error.message()));
  if (size != expected.size) {
    throw StorageError(str("[", path.string(), "] expected ", expected.size, " bytes, got ", size));
  }
  const CheckpointFile found = describe_shard(path);
  if (found.header_checksum != expected.header_checksum) {
    throw StorageError(str("[", path.string(), "] expected a header with checksum ",
                           checksum_text(expected.header_checksum), ", got ", checksum_text(found.header_checksum)));
  }
  return SafetensorsFile(path);
}

}  // namespace

ShardFiles::ShardFiles(fs::path folder, std::map<std::string, CheckpointFile> expected)
    : folder_(std::move(folder)), expected_(std::move(expected)) {}

const SafetensorsFile& ShardFiles::open(const std::string& file) {
  const std::lock_guard lock(mutex_);
  const auto found = files_.find(file);
  if (found != files_.end()) return found->second;
  return files_.emplace(file, open_shard(folder_ / file, expected_.at(file))).first->second;
}

const TensorView& ShardFiles::open(const std::string& name, const CheckpointTensor& tensor,
                                   const CheckpointPiece& piece) {
  const TensorView* view = open(piece.file).find(piece.name);
  const std::string path = (folder_ / piece.file).string();
  if (!view) throw StorageError(str("[", path, "] expected a tensor ", piece.name, ", got none"));
  if (view->dtype != tensor.dtype || view->shape != piece.shape) {
    throw StorageError(str("[", path, "] expected ", name, " as ", tensor_text(tensor.dtype, piece.shape), ", got ",
                           tensor_text(view->dtype, view->shape)));
  }
  return *view;
}

void ShardFiles::verify(const std::string& name, const CheckpointTensor& tensor, const CheckpointPiece& piece) {
  const std::span<const std::byte> bytes = open(name, tensor, piece).bytes;
  const uint64_t found = checksum64(bytes.data(), bytes.size());
  release_mapped(bytes);
  if (found == piece.checksum) return;
  throw StorageError(str("[", (folder_ / piece.file).string(), "] expected tensor ", name, " with checksum ",
                         checksum_text(piece.checksum), ", got ", checksum_text(found)));
}

}  // namespace millrace
