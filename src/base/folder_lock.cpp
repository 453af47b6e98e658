#include "base/folder_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// Seconds.
constexpr double kPatienceWithTheLiving = 0.5;
// A file server notices that a machine with a lock is gone only after its lease, 90 s with NFS.
constexpr double kPatienceWithOtherMachines = 120;
constexpr double kSilentPatience = 3;

// The file's content: "<process> <machine>\n".
struct Holder {
  pid_t process = 0;  // 0: unknown
  std::string host;

  std::string text() const { return process == 0 ? "" : str(" (process ", process, " on ", host, ")"); }
};

std::string this_host() {
  char name[256] = "";
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

Holder read_holder(int descriptor) {
  char bytes[300];
  const ssize_t size = ::pread(descriptor, bytes, sizeof bytes, 0);
  const std::string_view text = trim(std::string_view(bytes, static_cast<size_t>(std::max<ssize_t>(size, 0))));
  Holder holder;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), holder.process);
  if (error != std::errc() || holder.process <= 0 || end == text.data() + text.size()) return {};
  holder.host = json_escape(text.substr(static_cast<size_t>(end - text.data()) + 1));
  return holder;
}

// False for a process that is gone, or was killed and is releasing its memory.
bool lives_here(const Holder& holder) {
  if (holder.process == 0 || holder.host != this_host()) return false;
  // "<id> (<name>) <state> ... <flags, the 9th field> ..."; the name may hold anything.
  std::ifstream file(str("/proc/", holder.process, "/stat"));
  std::string stat{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return false;
  const std::vector<std::string> fields = split(std::string_view(stat).substr(name_end + 2), ' ');
  constexpr size_t kState = 0, kFlags = 6;
  constexpr unsigned long kExiting = 4;  // PF_EXITING of the kernel's sched.h
  if (fields.size() <= kFlags || fields[kState] == "Z" || fields[kState] == "X") return false;
  return (std::strtoul(fields[kFlags].c_str(), nullptr, 10) & kExiting) == 0;
}

// For people, and for lives_here(); the lock works without it.
void write_holder(int descriptor) {
  const std::string text = str(::getpid(), " ", this_host(), "\n");
  if (::ftruncate(descriptor, 0) != 0) return;
  [[maybe_unused]] const ssize_t written = ::pwrite(descriptor, text.data(), text.size(), 0);
}

}  // namespace

FolderLock::FolderLock(const fs::path& folder, const std::string& file_name, double patience_seconds) {
  const fs::path path = folder / file_name;
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (descriptor_ < 0) {
    throw StorageError(
        str("[", folder.string(), "] expected a folder that can be written to, got: ", std::strerror(errno)));
  }
  const double start = now_seconds();
  bool said = false;
  while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) {  // Lustre without its option flock, some FUSE systems
      log_warning("[", folder.string(), "] this file system has no locks (", std::strerror(errno),
                  "): make sure that only one process at a time writes there");
      return;
    }
    const Holder holder = read_holder(descriptor_);
    double patience = patience_seconds;
    if (lives_here(holder)) patience = std::min(kPatienceWithTheLiving, patience_seconds);
    if (holder.process > 0 && holder.host != this_host()) patience = kPatienceWithOtherMachines;
    const double waited = now_seconds() - start;
    if (waited > kSilentPatience && !std::exchange(said, true)) {
      log_info("[", folder.string(), "] waiting up to ", patience, " s for another process", holder.text(),
               ", in case it is gone");
    }
    if (waited > patience) {
      ::close(descriptor_);
      throw StorageError(str("[", folder.string(), "] expected to be the only process that writes here, got another ",
                             "running process", holder.text(),
                             " (try another --job.dump_folder, or stop that process)"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  write_holder(descriptor_);
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace millrace
