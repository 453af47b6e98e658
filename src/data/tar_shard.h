// A WebDataset shard: adjacent members of a tar file with the same key are a sample (tar_samples.h). The fields are a
// picture (png, else jpg, jpeg, webp), a caption (txt, else caption), a json, and those of an encoded sample
// (t5.bytes, clip.bytes, mean.bytes, logvar.bytes).
#pragma once

#include <array>
#include <map>
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

  // Opens the file and reads its headers. Throws DataError when it is not a tar file.
  explicit TarShard(const ShardFile& file);
  // find_lost() for a tar file; throws the same errors as the constructor.
  static std::string find_early_damage(const ShardFile& file);

  size_t size() const override { return samples_.size(); }
  std::string key(size_t sample) const override { return samples_[sample].key; }
  std::string problem(size_t sample) const override;
  // Derived from the file's name and the key: keys may repeat between files.
  uint64_t sample_id(size_t sample) const override;
  std::optional<uint64_t> field_size(size_t sample, SampleField field) const override;
  std::span<const std::byte> view(size_t sample, SampleField field, uint64_t max_bytes, uint64_t cap,
                                  std::string& scratch) const override;
  // The json's "timestep".
  std::optional<int64_t> timestep(size_t sample) const override;
  // The position of a field; for tests.
  const Extent& extent(size_t sample, SampleField field) const {
    return samples_[sample].fields[static_cast<size_t>(field)];
  }

 private:
  struct Sample {
    std::string key;
    std::array<Extent, kNumSampleFields> fields;
  };
  void take_samples(const std::vector<struct TarMember>& members);

  class Descriptor {
   public:
    explicit Descriptor(const std::filesystem::path& path);
    ~Descriptor();
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return descriptor_; }

   private:
    int descriptor_;
  };

  Descriptor descriptor_;
  std::vector<Sample> samples_;
  std::map<size_t, std::string> problems_;  // of the few samples that have one
};

}  // namespace millrace
