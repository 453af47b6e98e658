#include "prefixed_output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace millrace {
namespace {

constexpr size_t kLongestLine = 1 << 16;  // longer ones are split

}  // namespace

PrefixedOutput::PrefixedOutput(int from, int to, std::string prefix)
    : from_(from), to_(to), prefix_(std::move(prefix)) {
  ::fcntl(from_, F_SETFL, ::fcntl(from_, F_GETFL) | O_NONBLOCK);
}

PrefixedOutput::~PrefixedOutput() {
  ::close(from_);
}

void PrefixedOutput::pass_on() {
  char bytes[1 << 16];
  while (true) {
    const ssize_t count = ::read(from_, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      if (count == 0 || errno != EAGAIN) ended_ = true;
      return;
    }
    pending_.append(bytes, static_cast<size_t>(count));
    size_t begin = 0;
    for (size_t end; (end = pending_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      write_line(pending_.substr(begin, end - begin));
    }
    pending_.erase(0, begin);
    if (pending_.size() > kLongestLine) {
      write_line(pending_);
      pending_.clear();
    }
  }
}

void PrefixedOutput::finish() {
  if (!ended_) pass_on();
  if (!pending_.empty()) write_line(pending_);
  pending_.clear();
}

// One write per line, so that lines of different ranks do not mix.
void PrefixedOutput::write_line(const std::string& line) {
  const std::string text = prefix_ + line + "\n";
  for (size_t written = 0; written < text.size();) {
    const ssize_t count = ::write(to_, text.data() + written, text.size() - written);
    if (count >= 0) {
      written += static_cast<size_t>(count);
    } else if (errno == EAGAIN) {
      pollfd entry = {.fd = to_, .events = POLLOUT, .revents = 0};
      ::poll(&entry, 1, 1000);
    } else if (errno != EINTR) {
      return;  // the reader is gone
    }
  }
}

}  // namespace millrace
