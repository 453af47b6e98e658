// What this process does once the run has failed somewhere: prints one line, lets the main thread leave by itself for
// Watch::kGraceSeconds, then ends the process.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>

namespace millrace {

class EndOfRun {
 public:
  // Called once, before the main thread gets its time; makes collectives under way fail. It may block.
  void set_abort(std::function<void()> abort);
  // The first call counts. also_known_as: what the main thread may itself be about to print about the same failure.
  void begin(const std::string& message, int exit_code, const std::string& also_known_as = "");
  bool begun() const { return begun_.load(std::memory_order_acquire); }
  void check() const;               // throws after begin()
  bool wait(double seconds) const;  // for begin()

 private:
  bool started_ = false;
  std::atomic<bool> begun_ = false;  // and the line is printed
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::string message_;
  int exit_code_ = 0;
  std::function<void()> abort_;
};

}  // namespace millrace
