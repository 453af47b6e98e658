// A number that identifies the samples a step trained on, whatever their order and their split over ranks and batches.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/philox.h"

namespace millrace {

// The sum of a 32-bit hash of each (epoch, sample id). Digests of parts add up; sums of up to two million samples stay
// below 2^53, so that JSON and fp64 hold them exactly.
inline uint64_t sample_digest(const std::vector<uint32_t>& epochs, const std::vector<uint64_t>& sample_ids) {
  MILLRACE_CHECK(epochs.size() == sample_ids.size());
  uint64_t sum = 0;
  for (size_t i = 0; i < epochs.size(); ++i) sum += mix64(sample_ids[i] ^ mix64(epochs[i])) >> 32;
  return sum;
}

}  // namespace millrace
