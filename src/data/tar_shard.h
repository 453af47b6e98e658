// A WebDataset shard: members of a tar file with the same key that stand together are a sample.
//
// As in webdataset, the key is the member's path up to the first dot of its file name, and what follows is the
// extension. Wanted are a picture (png, else jpg, jpeg, webp), a caption (txt, else caption), a json, and what an
// encoded sample has (t5.bytes, clip.bytes, mean.bytes, logvar.bytes).
#pragma once

#include <array>
#include <string>
#include <vector>

#include "data/sample_shard.h"

namespace millrace {

class TarShard : public SampleShard {
 public:
  // A piece of the file.
  struct Extent {
    uint64_t offset = 0;  // never 0 for a member: its header comes first
    uint64_t size = 0;
    bool exists() const { return offset != 0; }
  };

  // Opens the file and reads its headers. Throws DataError when it is no tar file.
  explicit TarShard(const ShardFile& file);
  ~TarShard() override;

  size_t size() const override { return samples_.size(); }
  std::string key(size_t sample) const override { return samples_[sample].key; }
  // Of the file's name and the key: keys may start anew in each file.
  uint64_t sample_id(size_t sample) const override;
  std::optional<uint64_t> field_size(size_t sample, SampleField field) const override;
  std::span<const std::byte> view(size_t sample, SampleField field, uint64_t max_bytes, uint64_t cap,
                                  std::string& scratch) const override;
  // Of the json's "timestep".
  std::optional<int64_t> timestep(size_t sample) const override;
  // Where a field lies; for tests.
  const Extent& extent(size_t sample, SampleField field) const {
    return samples_[sample].fields[static_cast<size_t>(field)];
  }

 private:
  struct Sample {
    std::string key;
    std::array<Extent, kNumSampleFields> fields;
  };
  static std::vector<Sample> group(const std::vector<struct TarMember>& members);

  int descriptor_;
  std::vector<Sample> samples_;
};

}  // namespace millrace
