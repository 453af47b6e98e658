#include "train/stop_signals.h"

#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>

namespace millrace {
namespace {

std::atomic<int> requested_signal{0};
std::atomic<int64_t> requested_at{0};  // milliseconds
std::atomic<const char*> first_text{nullptr}, second_text{nullptr};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free &&
              std::atomic<const char*>::is_always_lock_free);

// A terminal, a launcher and a scheduler may each forward the same request: within this time they count as one.
constexpr int64_t kSameRequestMilliseconds = 1000;

int64_t milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

// Only async-signal-safe calls here and below.
void write_line(const char* text) {
  const auto part = [](const char* part_text) { return iovec{const_cast<char*>(part_text), std::strlen(part_text)}; };
  const iovec parts[] = {part("\nmillrace: "), part(text), part("\n")};
  [[maybe_unused]] const auto written = ::writev(STDERR_FILENO, parts, 3);
}

void on_signal(int signal) {
  const int64_t now = milliseconds();
  int none = 0;
  if (!requested_signal.compare_exchange_strong(none, signal)) {
    const int64_t first = requested_at.load();
    if (first == 0 || now - first < kSameRequestMilliseconds) return;
    write_line(second_text.load());
    ::_exit(128 + signal);
  }
  requested_at = now;
  write_line(first_text.load());
}

// The registers that a frame holds, 11 KiB of them with AMX, and room for the handler.
size_t stack_size() {
  return static_cast<size_t>(::sysconf(_SC_MINSIGSTKSZ)) + (size_t{64} << 10);
}

}  // namespace

StopSignals::StopSignals(const char* first, const char* second) : stack_(stack_size()) {
  const stack_t own{.ss_sp = stack_.data(), .ss_flags = 0, .ss_size = stack_.size()};
  ::sigaltstack(&own, &former_stack_);
  first_text = first;
  second_text = second;
  requested_signal = 0;
  requested_at = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < kStopSignals.size(); ++i) {
    ::sigaction(kStopSignals[i], &action, &former_[i]);
    if (kStopSignals[i] == SIGHUP && former_[i].sa_handler == SIG_IGN) ::sigaction(SIGHUP, &former_[i], nullptr);
  }
}

StopSignals::~StopSignals() {
  for (size_t i = 0; i < kStopSignals.size(); ++i) ::sigaction(kStopSignals[i], &former_[i], nullptr);
  ::sigaltstack(&former_stack_, nullptr);
}

int StopSignals::requested() const {
  return requested_signal.load();
}

}  // namespace millrace
