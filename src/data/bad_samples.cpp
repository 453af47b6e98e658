#include "data/bad_samples.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {

void BadSampleCounter::add_usable() {
  ++report_.seen;
  ++usable_in_epoch_;
}

void BadSampleCounter::add_small() {
  ++report_.seen;
  ++report_.small;
}

void BadSampleCounter::add_bad(const std::string& name, const std::string& problem) {
  ++report_.seen;
  remember(name, problem);
}

void BadSampleCounter::turn_bad(const std::string& name, const std::string& problem) {
  --usable_in_epoch_;
  remember(name, problem);
}

void BadSampleCounter::end_epoch() {
  if (too_many()) fail("at most " + format_double("%g", 100 * limit_.max_fraction) + " % bad samples");
  if (usable_in_epoch_ <= 0) fail("at least one usable sample in an epoch");
  usable_in_epoch_ = 0;
}

void BadSampleCounter::restore(const BadSampleReport& counts, int64_t usable_in_epoch) {
  report_ = counts;
  usable_in_epoch_ = usable_in_epoch;
}

void BadSampleCounter::remember(const std::string& name, const std::string& problem) {
  ++report_.bad;
  // The same sample is bad in every epoch; it is named once.
  const bool known = std::any_of(report_.first.begin(), report_.first.end(),
                                 [&](const BadSample& sample) { return sample.name == name; });
  if (!known && static_cast<int64_t>(report_.first.size()) < limit_.max_named) {
    report_.first.push_back({name, problem});
    log_warning("skipped a bad sample: ", problem);
  }
  const bool judged = limit_.max_fraction <= 0 || report_.seen >= limit_.min_seen;
  if (judged && too_many()) fail("at most " + format_double("%g", 100 * limit_.max_fraction) + " % bad samples");
}

bool BadSampleCounter::too_many() const {
  return static_cast<double>(report_.bad) > limit_.max_fraction * static_cast<double>(report_.seen);
}

void BadSampleCounter::fail(const std::string& expected) const {
  std::string message = "[data set] expected " + expected + ", got " + with_thousands(report_.bad) + " bad and " +
                        with_thousands(report_.small) + " too small of " + with_thousands(report_.seen);
  if (report_.bad > 0) message += " (try training.max_bad_samples)";
  constexpr size_t kShown = 5;
  for (size_t i = 0; i < std::min(kShown, report_.first.size()); ++i) message += "\n  " + report_.first[i].problem;
  if (report_.first.size() > kShown) message += "\n  ...";
  throw DataError(message);
}

}  // namespace millrace
