// Counts unusable samples, keeps the names of the first few, and stops the run when there are too many.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

struct BadSampleLimit {
  double max_fraction = 0.01;  // of the samples seen
  int64_t min_seen = 100;      // not checked before this many samples or the end of an epoch
  int64_t max_named = 20;      // bad samples whose names are kept
};

struct BadSample {
  std::string name;  // shard and key
  std::string problem;
};

struct BadSampleReport {
  int64_t seen = 0;       // samples read, including the ones below
  int64_t bad = 0;        // damaged, or without picture or caption: skipped
  int64_t small = 0;      // below the wanted size: skipped, not bad
  int64_t truncated = 0;  // cut short but used
  std::vector<BadSample> first;
};

class BadSampleCounter {
 public:
  explicit BadSampleCounter(BadSampleLimit limit = {}) : limit_(limit) {}

  void add_usable();
  void add_small();
  // Both throw DataError when the limit is exceeded.
  void add_bad(const std::string& name, const std::string& problem);
  // A sample that was counted as usable and then failed to decode.
  void turn_bad(const std::string& name, const std::string& problem);
  void add_truncated() { ++report_.truncated; }
  // Throws DataError above the limit, and when the epoch had nothing usable.
  void end_epoch();

  const BadSampleReport& report() const { return report_; }
  int64_t usable_in_epoch() const { return usable_in_epoch_; }
  // For resuming from a saved position; names are not saved.
  void restore(const BadSampleReport& counts, int64_t usable_in_epoch);

 private:
  void remember(const std::string& name, const std::string& problem);
  [[noreturn]] void fail(const std::string& expected) const;
  bool too_many() const;

  BadSampleLimit limit_;
  BadSampleReport report_;
  int64_t usable_in_epoch_ = 0;
};

}  // namespace millrace
