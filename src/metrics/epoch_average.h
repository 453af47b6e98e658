// The mean loss of the last epoch's steps, each counted when it was trained last: sd-scripts' loss/average.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

namespace millrace {

class EpochAverage {
 public:
  // 0: unknown, and the mean is of all steps.
  explicit EpochAverage(int64_t steps_per_epoch = 0) : steps_per_epoch_(steps_per_epoch) {}

  // A loss that is not finite, as of a step that had nothing to learn from, does not count.
  void add(double loss);
  // Not a number before the first loss.
  double value() const;

  // For a checkpoint, as JSON. An average that is restored continues bit for bit.
  std::string state() const;
  // Throws StorageError for what state() cannot have made.
  void restore(const std::string& state);

 private:
  void drop_oldest();

  int64_t steps_per_epoch_;
  std::deque<double> losses_;  // of the last epoch; empty where epochs are unknown
  double total_ = 0;           // a running sum, as there
  int64_t count_ = 0;
};

}  // namespace millrace
