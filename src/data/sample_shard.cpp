#include "data/sample_shard.h"

#include "base/error.h"
#include "base/printable.h"
#include "base/text.h"
#include "data/dummy_shard.h"
#include "data/hf_shard.h"
#include "data/lost_shard.h"
#include "data/tar_shard.h"

namespace millrace {

void SampleShard::throw_above_cap(size_t sample, uint64_t size, uint64_t cap) const {
  throw DataError("[" + describe(sample) + "] expected at most " + human_bytes(cap) + ", got " + human_bytes(size));
}

std::string SampleShard::describe(size_t sample) const {
  return printable(path_.string()) + ": " + printable(key(sample));
}

std::string SampleShard::damage_message() const {
  return "[" + printable(path_.string()) + "] expected a whole file, got " + damage_;
}

void SampleShard::check_usable(size_t sample) const {
  if (is_damage(sample)) throw DataError(damage_message());
  const std::string found = problem(sample);
  if (!found.empty()) throw DataError("[" + describe(sample) + "] " + found);
}

std::shared_ptr<const SampleShard> open_shard(const ShardFile& file) {
  if (!file.problem.empty()) return std::make_shared<const LostShard>(file);
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

std::string find_lost(const ShardFile& file) {
  if (!file.problem.empty() || file.kind == ShardKind::kDummy) return file.problem;
  try {
    if (file.kind == ShardKind::kTar) return TarShard::find_early_damage(file);
    const HfShard opened(file);
    return opened.num_rows() > 0 || opened.damage().empty() ? "" : "expected a whole file, got " + opened.damage();
  } catch (const Error& error) {
    return without_place(error.what());
  }
}

}  // namespace millrace
