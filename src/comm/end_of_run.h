// How this process ends once the run has failed somewhere: prints one line, gives the main thread Watch::kGraceSeconds
// to exit, then ends the process.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>

namespace millrace {

class EndOfRun {
 public:
  // Called once, before the grace period of the main thread; makes pending collectives fail. It may block.
  void set_abort(std::function<void()> abort);
  // Only the first call counts. also_known_as: the message that the main thread might print about the same failure.
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
