// One sample: is it usable, and its picture.
#pragma once

#include <memory>
#include <string>

#include "data/shard_index.h"
#include "images/transform.h"

namespace millrace {

struct CheckedSample {
  enum class Verdict { kUsable, kSmall, kBad };
  Verdict verdict = Verdict::kUsable;
  std::string caption;
  std::string problem;  // of a bad one; names the sample
};

// Reads the caption and as much of the picture as tells its size. Cheap, so that every rank can check every sample and
// all agree on the order; never throws for what is in the file.
CheckedSample check_sample(const ShardIndex& shard, size_t sample, const SquareTransform& transform, bool skip_small);

struct DecodeOutcome {
  bool truncated = false;
  std::string problem;  // empty: the picture is there
};

// Decodes and transforms into out [3, size, size]. Never throws for what is in the file.
DecodeOutcome decode_sample(const ShardIndex& shard, size_t sample, uint64_t sample_id, uint32_t epoch, uint64_t seed,
                            const SquareTransform& transform, float* out);

}  // namespace millrace
