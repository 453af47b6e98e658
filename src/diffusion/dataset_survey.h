// A look at every file of a data set before any work starts, for what must be whole: validation sets, and sets to
// encode.
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

// Opens every file, the ranks a share each. DataError for one that cannot be read.
DatasetSurvey survey_dataset(ShardCache& cache, Group& ranks, torch::Device device);

// Throws DataError, the same on every rank, for the first file that was cut short among those that hold the first
// `limit` samples (0: all). advice: what to try, for the message.
void check_files_are_whole(const DatasetSurvey& survey, const std::vector<ShardFile>& files, int64_t limit,
                           const std::string& advice);

// Of samples that should carry one. DataError says what else can be done.
[[noreturn]] void throw_without_timestep(const std::string& sample);

// Throws that for the first usable sample, where it has none: the others are looked at as they come, hours later.
void check_first_timestep(ShardCache& cache, const SampleDecoder& decoder);

// Whether a set that may do without timesteps has them: one of its first samples does.
bool has_timesteps(ShardCache& cache);

}  // namespace millrace
