// Rows that cannot be used: skipped, counted and named, up to a limit.
#pragma once

#include <cstdint>
#include <mutex>
#include <set>
#include <string>

namespace millrace {

// Safe to use from many threads at once.
class BadRows {
 public:
  // max_fraction: of the num_rows rows of the data set (training.max_bad_samples).
  BadRows(int64_t num_rows, double max_fraction);

  // The first few are logged with their problem, which names file and line. A row counts once, however often it is met.
  // Throws DataError while there are more than the limit, whether the row is new or not.
  void add(int64_t row, const std::string& problem);
  int64_t count() const;
  void log_count() const;  // where more were met than named

 private:
  mutable std::mutex mutex_;
  std::set<int64_t> rows_;
  std::string first_;
  int64_t num_rows_;
  double max_fraction_;
};

}  // namespace millrace
