#include "prepare/encode/sample_table.h"

#include <algorithm>

#include "base/error.h"

namespace millrace {

SampleTable::SampleTable(const std::vector<int64_t>& counts, int64_t limit) : begins_{0} {
  for (const int64_t count : counts) begins_.push_back(begins_.back() + count);
  size_ = limit > 0 ? std::min(limit, begins_.back()) : begins_.back();
}

SampleTable::Place SampleTable::find(int64_t index) const {
  MILLRACE_CHECK(index >= 0 && index < size_);
  // The last file that begins at or before the sample: an empty file begins where the next one does.
  const auto after = std::upper_bound(begins_.begin(), begins_.end(), index);
  const auto shard = static_cast<size_t>(after - begins_.begin()) - 1;
  return {shard, static_cast<size_t>(index - begins_[shard])};
}

std::vector<SampleRange> cut_into_units(int64_t samples, int64_t samples_per_unit) {
  MILLRACE_CHECK(samples_per_unit > 0);
  std::vector<SampleRange> units;
  for (int64_t begin = 0; begin < samples; begin += samples_per_unit) {
    units.push_back({begin, std::min(samples, begin + samples_per_unit)});
  }
  return units;
}

}  // namespace millrace
