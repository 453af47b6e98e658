#include "diffusion/dataset_survey.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

constexpr size_t kMostSamples = 100;  // searched for timesteps

}  // namespace

DatasetSurvey survey_dataset(ShardCache& cache, Group& ranks, torch::Device device) {
  const auto num_files = static_cast<int64_t>(cache.shards().size());
  torch::Tensor found = torch::zeros({2, num_files}, torch::kInt64);
  for (int64_t i = ranks.rank(); i < num_files; i += ranks.size()) {
    const auto shard = cache.get(static_cast<size_t>(i));
    found[0][i] = static_cast<int64_t>(shard->size());
    found[1][i] = shard->damage().empty() ? 0 : 1;
  }
  found = found.to(device);
  ranks.all_reduce(found).wait();
  found = found.cpu();
  const int64_t* const counts = found.const_data_ptr<int64_t>();
  DatasetSurvey survey;
  survey.samples.assign(counts, counts + num_files);
  survey.is_damaged.assign(counts + num_files, counts + 2 * num_files);
  return survey;
}

void check_files_are_whole(const DatasetSurvey& survey, const std::vector<ShardFile>& files, int64_t limit,
                           const std::string& advice) {
  int64_t before = 0;
  for (size_t i = 0; i < files.size() && (limit == 0 || before < limit); before += survey.samples[i++]) {
    if (!survey.is_damaged[i]) continue;
    throw DataError(str(open_shard(files[i])->damage_message(), " (try ", advice, ")"));
  }
}

void throw_without_timestep(const std::string& sample) {
  throw DataError("[" + sample +
                  "] expected a timestep of 0 to 7, got none (`millrace prepare coco` writes them; the data set kinds "
                  "\"webdataset\" and \"preprocessed\" do without)");
}

void check_first_timestep(ShardCache& cache, const SampleDecoder& decoder) {
  const auto shard = cache.get(0);
  for (size_t i = 0; i < std::min(shard->size(), kMostSamples); ++i) {
    const CheckedSample checked = decoder.check(*shard, i);
    if (checked.verdict != CheckedSample::Verdict::kUsable) continue;
    if (checked.timestep < 0) throw_without_timestep(shard->describe(i));
    return;
  }
}

bool has_timesteps(ShardCache& cache) {
  const auto shard = cache.get(0);
  for (size_t i = 0; i < std::min(shard->size(), kMostSamples); ++i) {
    if (read_timestep(*shard, i, TimestepUse::kIfThere) >= 0) return true;
  }
  return false;
}

}  // namespace millrace
