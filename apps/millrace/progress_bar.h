// How far a long command is: a bar with rate and time left on a terminal, a line a minute in a log file.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

namespace millrace {

// Safe to update from several threads.
class ProgressBar {
 public:
  // unit: what is counted, in the plural: "pictures". already_done: what an earlier run did, left out of the rate.
  explicit ProgressBar(std::string unit, int64_t already_done = 0);
  ~ProgressBar();  // leaves the terminal's line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // total 0: not known yet.
  void update(int64_t done, int64_t total);
  // Ends the line. Nothing is shown afterwards.
  void finish();

 private:
  std::string text(int64_t done, int64_t total, double now, bool with_bar) const;

  std::mutex mutex_;
  std::string unit_;
  int64_t already_done_;
  bool is_terminal_;
  double start_;
  double last_shown_;
  bool is_drawn_ = false;
  bool is_finished_ = false;
};

}  // namespace millrace
