#include "data/sample_shard.h"

#include "base/error.h"
#include "base/text.h"
#include "data/dummy_shard.h"
#include "data/hf_shard.h"
#include "data/tar_shard.h"

namespace millrace {

void SampleShard::throw_above_cap(size_t sample, uint64_t size, uint64_t cap) const {
  throw DataError("[" + describe(sample) + "] expected at most " + human_bytes(cap) + ", got " + human_bytes(size));
}

std::shared_ptr<const SampleShard> open_shard(const ShardFile& file) {
  switch (file.kind) {
    case ShardKind::kArrow:
      return std::make_shared<const HfShard>(file);
    case ShardKind::kDummy:
      return std::make_shared<const DummyShard>(file);
    case ShardKind::kTar:
      break;
  }
  return std::make_shared<const TarShard>(file);
}

}  // namespace millrace
