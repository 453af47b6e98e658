#include "train/stop_signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

namespace millrace {
namespace {

constexpr int kSignals[] = {SIGTERM, SIGINT, SIGUSR1};
std::atomic<int> requested_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);

// Only async-signal-safe calls here.
void on_signal(int signal) {
  if (requested_signal.exchange(signal) != 0) {
    const char message[] = "\nmillrace: second signal, leaving without a checkpoint\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, message, sizeof message - 1);
    ::_exit(128 + signal);
  }
  const char message[] = "\nmillrace: stopping after this step with a checkpoint (again to leave at once)\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, message, sizeof message - 1);
}

}  // namespace

StopSignals::StopSignals() {
  requested_signal = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : kSignals) sigaction(signal, &action, nullptr);
}

StopSignals::~StopSignals() {
  for (const int signal : kSignals) ::signal(signal, SIG_DFL);
}

int StopSignals::requested() const {
  return requested_signal.load();
}

}  // namespace millrace
