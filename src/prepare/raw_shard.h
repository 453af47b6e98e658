// One tar shard with all files of its samples, grouped as by `datasets`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/shard_list.h"

namespace millrace {

struct RawFile {
  std::string field;  // "jpg"
  uint64_t offset;
  uint64_t size;
};
struct RawEntry {
  std::string key;
  std::vector<RawFile> files;
  std::string problem;  // not empty: why the sample cannot be used (tar_samples.h)

  const RawFile* find(const std::string& field) const;
};

class RawShard {
 public:
  // Reads the headers. A file that is not a tar archive gives no entries, but damage. Throws StorageError when it
  // cannot be opened.
  explicit RawShard(const ShardFile& file);
  ~RawShard();
  RawShard(const RawShard&) = delete;
  RawShard& operator=(const RawShard&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const std::vector<RawEntry>& entries() const { return entries_; }
  const std::string& damage() const { return damage_; }  // empty: the archive is whole
  // "shard.tar: key", printable()
  std::string describe(size_t entry) const;
  // The content of a file, at most 1 GiB. Throws DataError.
  void read(const RawFile& file, std::string& content) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::vector<RawEntry> entries_;
  std::string damage_;
};

}  // namespace millrace
