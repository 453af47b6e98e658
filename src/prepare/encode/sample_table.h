// Maps the i-th sample of a data set to its file, and divides the data set into units of work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace millrace {

class SampleTable {
 public:
  // counts: samples of each file, in the data set's order. limit: use only this many samples; 0: all.
  explicit SampleTable(const std::vector<int64_t>& counts, int64_t limit = 0);

  int64_t size() const { return size_; }
  struct Place {
    size_t shard = 0;
    size_t sample = 0;  // in the shard
  };
  Place find(int64_t index) const;  // 0 <= index < size()

 private:
  std::vector<int64_t> begins_;  // of each file; and the end of the last
  int64_t size_ = 0;
};

struct SampleRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};
std::vector<SampleRange> cut_into_units(int64_t samples, int64_t samples_per_unit);

}  // namespace millrace
