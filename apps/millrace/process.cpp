#include "process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "base/lost_mapping.h"
#include "base/temporary_files.h"

namespace millrace {
namespace {

// Reading gives end of file; writing fails, as on a closed descriptor.
void fill_standard_descriptors() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
    // Gets the lowest free number, which is this one.
    if (::open("/dev/null", O_RDONLY) != descriptor) return;
  }
}

// The soft limit only protects programs that use select().
void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

void prepare_process() {
  fill_standard_descriptors();
  std::signal(SIGXFSZ, SIG_IGN);
  raise_file_limit();
  remove_temporary_files_on_signals();
  report_lost_mappings();
}

void leave(int status) {
  std::fflush(nullptr);
  ::_exit(status);
}

bool has_no_reader(int descriptor) {
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) return true;
  pollfd entry = {.fd = descriptor, .events = POLLOUT, .revents = 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

}  // namespace millrace
