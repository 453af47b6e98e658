// Progress of a long command: a bar with rate and time left on a terminal, a line a minute in a log file.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

namespace millrace {

// Thread-safe to update.
class ProgressBar {
 public:
  // unit: what is counted, in the plural: "pictures".
  explicit ProgressBar(std::string unit);
  ~ProgressBar();  // leaves the terminal's line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // total 0: not known yet. is_new: false for an earlier run's work, which is left out of the rate.
  void update(int64_t done, int64_t total, bool is_new = true);
  // Ends the line. Shows nothing afterwards.
  void finish();

 private:
  std::string text(int64_t done, int64_t total, double now, bool with_bar) const;

  std::mutex mutex_;
  std::string unit_;
  int64_t done_ = 0;
  int64_t done_earlier_ = 0;
  bool is_terminal_;
  double start_;
  double last_shown_;
  bool is_drawn_ = false;
  bool is_finished_ = false;
};

}  // namespace millrace
