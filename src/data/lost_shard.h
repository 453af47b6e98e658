// A file that is named like a shard but is not one: a single damaged sample stands for it, so that it is counted.
#pragma once

#include "base/error.h"
#include "base/printable.h"
#include "data/sample_shard.h"

namespace millrace {

class LostShard : public SampleShard {
 public:
  explicit LostShard(const ShardFile& file) : SampleShard(file) { damage_ = file.problem; }

  size_t size() const override { return 1; }
  std::string key(size_t) const override { return "(all of it)"; }
  uint64_t sample_id(size_t) const override { return 0; }
  std::string damage_message() const override { return "[" + printable(path_.string()) + "] " + damage_; }
  std::optional<uint64_t> field_size(size_t, SampleField) const override { return std::nullopt; }
  std::span<const std::byte> view(size_t, SampleField, uint64_t, uint64_t, std::string&) const override {
    MILLRACE_CHECK(false);
  }
  std::optional<int64_t> timestep(size_t) const override { return std::nullopt; }
};

}  // namespace millrace
