// The samples of one shard: members with the same key that stand together.
//
// As in webdataset, the key is the member's path up to the first dot of its file name, and what follows is the
// extension. Wanted are a picture (png, else jpg, jpeg, webp) and a caption (txt, else caption, else the "caption" of a
// json).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/shard_list.h"

namespace millrace {

// A piece of a file; size 0 with offset 0: there is none.
struct Extent {
  uint64_t offset = 0;  // never 0 for a member: its header comes first
  uint64_t size = 0;
  bool exists() const { return offset != 0; }
};

struct SampleEntry {
  std::string key;
  Extent picture;
  Extent caption;
  Extent json;
};

class ShardIndex {
 public:
  // Opens the file and reads its headers. Throws DataError when it is no tar file.
  explicit ShardIndex(const ShardFile& shard);
  ~ShardIndex();
  ShardIndex(const ShardIndex&) = delete;
  ShardIndex& operator=(const ShardIndex&) = delete;

  const std::string& name() const { return name_; }
  const std::filesystem::path& path() const { return path_; }
  const std::vector<SampleEntry>& samples() const { return samples_; }
  // A file whose tail is damaged ends with one more sample that stands for what is lost, so that it is counted.
  const std::string& damage() const { return damage_; }  // see TarIndex
  bool is_damage(size_t sample) const { return !damage_.empty() && sample + 1 == samples_.size(); }
  // "folder/shard-000.tar: key", for messages.
  std::string describe(size_t sample) const;
  // The same on every rank and in every epoch, wherever the data set lies.
  uint64_t sample_id(size_t sample) const;

  // The first max_bytes of a piece. Throws DataError when it cannot be read or is above cap.
  void read(const Extent& extent, uint64_t max_bytes, uint64_t cap, std::string& out) const;

 private:
  std::filesystem::path path_;
  std::string name_;
  int descriptor_;
  std::vector<SampleEntry> samples_;
  std::string damage_;
};

}  // namespace millrace
