// Inspects every file of a data set before any work starts, for sets that must be complete: validation sets, and sets
// to encode.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/mesh.h"
#include "data/sample_decoder.h"
#include "data/shard_cache.h"

namespace millrace {

struct DatasetSurvey {
  std::vector<int64_t> samples;  // of each file
  std::vector<bool> is_damaged;  // cut short
};

// Opens every file; each rank takes a share. Throws DataError for a file that cannot be read.
DatasetSurvey survey_dataset(ShardCache& cache, Group& ranks, torch::Device device);

// Throws DataError, the same on every rank, for the first truncated file among those that hold the first
// `limit` samples (0: all). advice: what to try, for the message.
void check_files_are_whole(const DatasetSurvey& survey, const std::vector<ShardFile>& files, int64_t limit,
                           const std::string& advice);

// Throws the DataError for a sample that should carry a timestep but does not; the message says what else can be done.
[[noreturn]] void throw_without_timestep(const std::string& sample);

// Throws the same error if the first usable sample has no timestep: later samples are only reached hours later.
void check_first_timestep(ShardCache& cache, const SampleDecoder& decoder);

// Whether a set with optional timesteps has them: one of its first samples does.
bool has_timesteps(ShardCache& cache);

}  // namespace millrace
