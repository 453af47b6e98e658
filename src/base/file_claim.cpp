#include "base/file_claim.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const char* expected) {
  throw StorageError(str("[", path.string(), "] expected ", expected, ", got: ", std::strerror(errno)));
}

// Whether the open file still has this name.
bool is_named(int descriptor, const fs::path& path) {
  struct stat open {
  }, named{};
  return ::fstat(descriptor, &open) == 0 && ::stat(path.c_str(), &named) == 0 && open.st_dev == named.st_dev &&
         open.st_ino == named.st_ino;
}

}  // namespace

FileClaim::FileClaim(const fs::path& path)
    : path_(path),
      temporary_(path.parent_path() / ("." + path.filename().string() + ".part")),
      outcome_(Outcome::kTaken) {
  outcome_ = take();
}

FileClaim::Outcome FileClaim::take() {
  while (true) {
    descriptor_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (descriptor_ < 0) fail(temporary_, "a file that can be written");
    while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      return errno == EWOULDBLOCK ? Outcome::kTaken : Outcome::kNoLocks;
    }
    // Between open() and flock() the holder before may have renamed or removed it.
    if (is_named(descriptor_, temporary_)) return Outcome::kMine;
    ::close(descriptor_);
  }
}

FileClaim::~FileClaim() {
  if (descriptor_ < 0) return;
  if (outcome_ == Outcome::kMine) ::unlink(temporary_.c_str());
  ::close(descriptor_);
}

uint64_t FileClaim::bytes_so_far() const {
  struct stat info {};
  return ::fstat(descriptor_, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

void FileClaim::commit() {
  MILLRACE_CHECK(outcome_ == Outcome::kMine);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "a name that can be written");
  fsync_folder(path_.parent_path());
  ::close(descriptor_);
  descriptor_ = -1;
}

void make_file_once(const fs::path& path, const std::string& what, double patience,
                    const std::function<bool()>& is_there, const std::function<void(FileClaim& claim)>& make) {
  if (is_there()) return;
  create_folders(path.parent_path());
  double last_growth = now_seconds();
  bool is_waiting = false;
  for (uint64_t bytes = 0;;) {
    FileClaim claim(path);
    if (claim.outcome() == FileClaim::Outcome::kNoLocks) {
      throw StorageError(str("[", path.parent_path().string(), "] expected a file system with locks, got none"));
    }
    if (claim.outcome() == FileClaim::Outcome::kMine) {
      if (!is_there()) make(claim);  // it is if another process was faster
      return;
    }
    if (!std::exchange(is_waiting, true)) {
      log_info("waiting for another process that ", what, ": ", claim.temporary().string());
    }
    const uint64_t bytes_now = claim.bytes_so_far();
    if (std::exchange(bytes, bytes_now) != bytes_now) last_growth = now_seconds();
    if (now_seconds() - last_growth > patience) {
      throw StorageError(str("[", claim.temporary().string(),
                             "] expected the process that writes it to make progress, ", "got nothing new in ",
                             patience, " s"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace millrace
