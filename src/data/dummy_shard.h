// The data set "dummy" of torchtitan's MLPerf branch: 128 pictures of noise, all captioned "A photo of a cat"; for
// trying out a configuration without data.
#pragma once

#include "data/sample_decoder.h"

namespace millrace {

class DummyShard : public SampleShard {
 public:
  static constexpr size_t kSamples = 128;
  static constexpr int kSide = 256;

  explicit DummyShard(const ShardFile& file) : SampleShard(file) {}

  size_t size() const override { return kSamples; }
  std::string key(size_t sample) const override { return std::to_string(sample); }
  uint64_t sample_id(size_t sample) const override { return sample; }
  std::optional<uint64_t> field_size(size_t sample, SampleField field) const override;
  std::span<const std::byte> view(size_t sample, SampleField field, uint64_t max_bytes, uint64_t cap,
                                  std::string& scratch) const override;
  std::optional<int64_t> timestep(size_t sample) const override {
    return static_cast<int64_t>(sample) % kValidationTimesteps;
  }
};

// The list that stands for it.
std::vector<ShardFile> dummy_shards();

}  // namespace millrace
