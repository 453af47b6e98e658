// The fields that a batch holds of each sample, and how a sample is decoded into them.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/sample_shard.h"

namespace millrace {

// One tensor of a batch, without the batch dimension.
struct BatchField {
  std::vector<int64_t> sizes;
  torch::Dtype dtype = torch::kFloat32;
};

struct CheckedSample {
  enum class Verdict { kUsable, kSmall, kBad };
  Verdict verdict = Verdict::kUsable;
  std::string caption;
  int64_t timestep = -1;  // -1: none, or not requested
  std::string problem;    // of a bad one; names the sample
};

struct DecodeOutcome {
  bool truncated = false;
  std::string problem;  // empty: the sample is usable
};

// Thread-safe.
class SampleDecoder {
 public:
  virtual ~SampleDecoder() = default;

  virtual const std::vector<BatchField>& fields() const = 0;
  // Whether the sample is usable. Cheap, so that every rank can check every sample and all agree on the order; never
  // throws because of the file's content.
  virtual CheckedSample check(const SampleShard& shard, size_t sample) const = 0;
  // Writes the sample's part of each field. Never throws because of the file's content.
  virtual DecodeOutcome decode(const SampleShard& shard, size_t sample, uint32_t epoch,
                               std::span<void* const> out) const = 0;
};

constexpr int64_t kValidationTimesteps = 8;  // MLPerf's: t = 0, 1/8 ... 7/8

enum class TimestepUse {
  kUnused,
  kIfThere,   // an unreadable one counts as none
  kRequired,  // a sample with an unreadable timestep is bad; without one it gets -1
};

// The validation timestep for CheckedSample. Throws DataError for a required one outside 0..7.
int64_t read_timestep(const SampleShard& shard, size_t sample, TimestepUse use);

}  // namespace millrace
