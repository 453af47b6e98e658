#include "comm/end_of_run.h"

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <vector>

#include "base/error.h"
#include "comm/watch.h"

namespace millrace {
namespace {

std::mutex printed_mutex;
std::vector<std::string> printed;

// One write to stderr, past every lock and buffer: the main thread may hold them, and the pipe may have no reader.
void print_line(const std::string& message) {
  const std::string line = (::isatty(STDERR_FILENO) ? "\r\033[K" : "") + message + "\n";
  pollfd entry = {.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (::poll(&entry, 1, 1000) > 0) {
    [[maybe_unused]] const ssize_t count = ::write(STDERR_FILENO, line.data(), line.size());
  }
}

}  // namespace

bool Watch::was_printed(const std::string& message) {
  const std::lock_guard lock(printed_mutex);
  for (const std::string& known : printed) {
    if (message == known) return true;
  }
  return false;
}

void EndOfRun::set_abort(std::function<void()> abort) {
  const std::lock_guard lock(mutex_);
  abort_ = std::move(abort);
}

void EndOfRun::begin(const std::string& message, int exit_code, const std::string& also_known_as) {
  std::function<void()> abort;
  {
    const std::lock_guard lock(mutex_);
    if (started_) return;
    started_ = true;
    message_ = message;
    exit_code_ = exit_code;
    abort = abort_;
    const std::lock_guard printed_lock(printed_mutex);
    printed.push_back(message);
    if (!also_known_as.empty()) printed.push_back(also_known_as);
  }
  std::thread([exit_code] {
    std::this_thread::sleep_for(std::chrono::duration<double>(Watch::kGraceSeconds));
    ::_exit(exit_code);
  }).detach();
  // Before begun_: after that the main thread may exit at any moment, and it does not print the line again.
  print_line("millrace: " + message);
  {
    const std::lock_guard lock(mutex_);
    begun_.store(true, std::memory_order_release);
  }
  changed_.notify_all();
  if (abort) abort();
}

void EndOfRun::check() const {
  if (!begun()) return;
  const std::lock_guard lock(mutex_);
  throw_error(static_cast<ExitCode>(exit_code_), message_);
}

bool EndOfRun::wait(double seconds) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return begun(); });
}

}  // namespace millrace
