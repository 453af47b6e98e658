#include "base/lost_mapping.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "base/temporary_files.h"

// The handler runs between any two instructions, so it neither allocates nor locks: it reads /proc/self/maps, whose
// lines are "begin-end rwxp offset device inode    path", through buffers on its stack.
namespace millrace {
namespace {

class LineReader {
 public:
  explicit LineReader(int descriptor) : descriptor_(descriptor) {}

  // The next line without its end, cut to the buffer; null after the last.
  const char* next() {
    size_t length = 0;
    char byte = 0;
    while (take(byte)) {
      if (byte == '\n') return line_[length] = '\0', line_;
      if (length + 1 < sizeof line_) line_[length++] = byte;
    }
    return nullptr;
  }

 private:
  bool take(char& byte) {
    if (at_ == filled_) {
      const ssize_t count = ::read(descriptor_, buffer_, sizeof buffer_);
      if (count <= 0) return false;
      at_ = 0;
      filled_ = static_cast<size_t>(count);
    }
    byte = buffer_[at_++];
    return true;
  }

  int descriptor_;
  size_t at_ = 0, filled_ = 0;
  char buffer_[1024];
  char line_[2048];
};

// Advances text past the number.
uintptr_t take_hexadecimal(const char*& text) {
  uintptr_t number = 0;
  for (;; ++text) {
    if (*text >= '0' && *text <= '9') {
      number = number * 16 + static_cast<uintptr_t>(*text - '0');
    } else if (*text >= 'a' && *text <= 'f') {
      number = number * 16 + static_cast<uintptr_t>(*text - 'a' + 10);
    } else {
      return number;
    }
  }
}

// The file that is mapped there: a part of the reader's line; null if there is none.
const char* file_at(LineReader& lines, uintptr_t address) {
  while (const char* line = lines.next()) {
    const char* rest = line;
    const uintptr_t begin = take_hexadecimal(rest);
    if (*rest != '-') continue;
    const uintptr_t end = take_hexadecimal(++rest);
    if (begin <= address && address < end) return std::strchr(line, '/');
  }
  return nullptr;
}

void on_bus_error(int signal, siginfo_t* info, void* /*context*/) {
  const int maps = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  const bool is_mapping = info->si_code == BUS_ADRERR && maps >= 0;
  LineReader lines(maps);
  const char* path = is_mapping ? file_at(lines, reinterpret_cast<uintptr_t>(info->si_addr)) : nullptr;
  if (path == nullptr) {  // the usual death, with a core
    if (maps >= 0) ::close(maps);
    ::signal(signal, SIG_DFL);
    ::raise(signal);  // takes effect when this returns
    return;
  }
  remove_temporary_files();
  const auto part = [](const char* text) { return iovec{const_cast<char*>(text), std::strlen(text)}; };
  const iovec parts[] = {part("\nmillrace: ["), part(path),
                         part("] expected a file that stays as it is while this program uses it, got one that was "
                              "shortened, or whose disk has failed or has no room\n")};
  [[maybe_unused]] const auto written = ::writev(STDERR_FILENO, parts, 3);
  ::_exit(static_cast<int>(ExitCode::kStorage));
}

}  // namespace

void report_lost_mappings() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace millrace
