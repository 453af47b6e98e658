// One tar shard with all files of its samples, as `datasets` groups them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

struct RawFile {
  std::string field;  // "jpg"
  uint64_t offset;
  uint64_t size;
};
struct RawEntry {
  std::string key;
  std::vector<RawFile> files;

  const RawFile* find(const std::string& field) const;
};

class RawShard {
 public:
  // Reads the headers. Throws DataError when it is no tar file, StorageError when it cannot be opened.
  explicit RawShard(const std::filesystem::path& path);
  ~RawShard();
  RawShard(const RawShard&) = delete;
  RawShard& operator=(const RawShard&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const std::vector<RawEntry>& entries() const { return entries_; }
  const std::string& damage() const { return damage_; }  // empty: the archive is whole
  // "shard.tar: key"
  std::string describe(size_t entry) const { return path_.filename().string() + ": " + entries_[entry].key; }
  // The content of a file, at most 1 GiB. Throws DataError.
  void read(const RawFile& file, std::string& content) const;

 private:
  std::filesystem::path path_;
  int descriptor_;
  std::vector<RawEntry> entries_;
  std::string damage_;
};

}  // namespace millrace
