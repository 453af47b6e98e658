// The unusable samples of a unit or of a whole set: counted and named; too many are an error.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

namespace millrace {

// An array of {"index", "name", "problem"}.
using BadSampleList = nlohmann::ordered_json;

// problem: the message of the exception. Control characters and bytes that are not UTF-8 are escaped.
nlohmann::ordered_json bad_sample(int64_t index, const std::string& name, const std::string& problem);

// Accumulates the units' reports. Names the first few in the log, and throws DataError when more than the limit are
// bad.
class BadSampleTotal {
 public:
  // max_fraction: of the samples seen, checked once 100 were seen.
  BadSampleTotal(std::string command, double max_fraction)
      : command_(std::move(command)), max_fraction_(max_fraction) {}

  // is_new: false for samples that an earlier run has already named.
  void add(int64_t seen, const BadSampleList& bad, bool is_new);
  // At the end: checks however few were seen.
  void check() const;
  int64_t count() const { return count_; }

 private:
  [[noreturn]] void fail() const;

  std::string command_;
  double max_fraction_;
  int64_t seen_ = 0;
  int64_t count_ = 0;
  std::string first_;
};

}  // namespace millrace
