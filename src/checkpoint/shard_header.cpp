#include "checkpoint/shard_header.h"

#include <cstring>
#include <span>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"

namespace millrace {

CheckpointFile describe_shard(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  // A safetensors file begins with the length of its JSON header, 8 bytes, little-endian.
  uint64_t header_size = 0;
  if (bytes.size() >= sizeof header_size) std::memcpy(&header_size, bytes.data(), sizeof header_size);
  if (bytes.size() < sizeof header_size || header_size > bytes.size() - sizeof header_size) {
    throw StorageError(str("[", path.string(), "] expected a safetensors file, got ", bytes.size(),
                           " bytes that end inside the header"));
  }
  return {bytes.size(), checksum64(bytes.data(), sizeof header_size + header_size)};
}

}  // namespace millrace
