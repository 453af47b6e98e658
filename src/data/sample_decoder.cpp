#include "data/sample_decoder.h"

#include "base/error.h"

namespace millrace {

int64_t read_timestep(const SampleShard& shard, size_t sample) {
  const std::optional<int64_t> timestep = shard.timestep(sample);
  if (!timestep) return -1;
  if (*timestep < 0 || *timestep >= kValidationTimesteps) {
    throw DataError("[" + shard.describe(sample) + "] expected a timestep of 0 to 7, got " + std::to_string(*timestep));
  }
  return *timestep;
}

}  // namespace millrace
