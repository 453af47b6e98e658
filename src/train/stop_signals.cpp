#include "train/stop_signals.h"

#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace millrace {
namespace {

std::atomic<int> requested_signal{0};
std::atomic<int64_t> requested_at{0};  // milliseconds
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free);

// A terminal, a launcher and a scheduler may each pass the same request on: within this time it is one.
constexpr int64_t kSameRequestMilliseconds = 1000;

int64_t milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

// Only async-signal-safe calls here.
void on_signal(int signal) {
  const int64_t now = milliseconds();
  int none = 0;
  if (!requested_signal.compare_exchange_strong(none, signal)) {
    const int64_t first = requested_at.load();
    if (first == 0 || now - first < kSameRequestMilliseconds) return;
    const char message[] = "\nmillrace: second signal, leaving without a checkpoint\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, message, sizeof message - 1);
    ::_exit(128 + signal);
  }
  requested_at = now;
  const char message[] = "\nmillrace: stopping after this step with a checkpoint (again to leave at once)\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, message, sizeof message - 1);
}

}  // namespace

StopSignals::StopSignals() {
  requested_signal = 0;
  requested_at = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : kStopSignals) sigaction(signal, &action, nullptr);
}

StopSignals::~StopSignals() {
  for (const int signal : kStopSignals) ::signal(signal, SIG_DFL);
}

int StopSignals::requested() const {
  return requested_signal.load();
}

}  // namespace millrace
