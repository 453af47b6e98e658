#include "data/sample_decoder.h"

#include "base/error.h"

namespace millrace {

int64_t read_timestep(const SampleShard& shard, size_t sample, TimestepUse use) {
  if (use == TimestepUse::kUnused) return -1;
  try {
    const std::optional<int64_t> timestep = shard.timestep(sample);
    if (!timestep) return -1;
    if (*timestep >= 0 && *timestep < kValidationTimesteps) return *timestep;
    throw DataError("[" + shard.describe(sample) + "] expected a timestep of 0 to 7, got " + std::to_string(*timestep));
  } catch (const DataError&) {
    if (use == TimestepUse::kRequired) throw;
    return -1;
  }
}

}  // namespace millrace
