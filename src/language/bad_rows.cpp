#include "language/bad_rows.h"

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

constexpr size_t kMaxNamed = 20;

}  // namespace

BadRows::BadRows(int64_t num_rows, double max_fraction) : num_rows_(num_rows), max_fraction_(max_fraction) {}

void BadRows::add(int64_t row, const std::string& problem) {
  const std::lock_guard lock(mutex_);
  if (rows_.insert(row).second) {
    if (first_.empty()) first_ = problem;
    if (rows_.size() <= kMaxNamed) log_warning("skipped a row: ", problem);
    if (rows_.size() == kMaxNamed) log_warning("further rows that are skipped are counted, not named");
  }
  // Also for a row that was met before: its first meeting may have been in a microbatch that is wanted later.
  const auto bad = static_cast<double>(rows_.size());
  if (bad <= max_fraction_ * static_cast<double>(num_rows_)) return;
  throw DataError(str("[training.max_bad_samples] expected at most ", max_fraction_, " of ", num_rows_,
                      " rows to be unusable, got ", rows_.size(), ", first: ", first_));
}

int64_t BadRows::count() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(rows_.size());
}

void BadRows::log_count() const {
  if (count() > static_cast<int64_t>(kMaxNamed)) log_warning("skipped ", count(), " of ", num_rows_, " rows");
}

}  // namespace millrace
