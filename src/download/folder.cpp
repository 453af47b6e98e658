#include "download/folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const std::string& expected, int error) {
  throw StorageError(str("[", path.string(), "] expected ", expected, ", got: ", std::strerror(error)));
}

}  // namespace

Descriptor::~Descriptor() {
  if (value_ >= 0) ::close(value_);
}

Descriptor::Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

Folder Folder::open(const fs::path& path, bool create) {
  if (create) create_folders(path);
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor) fail(path, "a folder", errno);
  return Folder(path, std::move(descriptor));
}

std::optional<Folder> Folder::open_existing(const fs::path& path) {
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor && errno == ENOENT) return std::nullopt;
  if (!descriptor) fail(path, "a folder", errno);
  return Folder(path, std::move(descriptor));
}

std::optional<Folder> Folder::parent_of(std::string_view relative, bool create) const {
  Folder current(path_, Descriptor(::fcntl(descriptor_.get(), F_DUPFD_CLOEXEC, 0)));
  if (!current.descriptor_) fail(path_, "a folder", errno);
  std::vector<std::string> components = split(relative, '/');
  components.pop_back();
  for (const std::string& name : components) {
    fs::path path = current.path_ / name;
    const int parent = current.descriptor_.get();
    if (create && ::mkdirat(parent, name.c_str(), 0755) != 0 && errno != EEXIST) {
      fail(path, "a folder that can be created", errno);
    }
    Descriptor next(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next && errno == ENOENT && !create) return std::nullopt;
    if (!next && (errno == ELOOP || errno == ENOTDIR)) {
      throw StorageError(str("[", path.string(),
                             "] expected a folder, got a file or a symbolic link (links inside the ",
                             "output folder are not followed; try another --output)"));
    }
    if (!next) fail(path, "a folder", errno);
    current = Folder(std::move(path), std::move(next));
  }
  return current;
}

std::optional<FileState> Folder::state(const std::string& name) const {
  struct stat info {};
  if (::fstatat(descriptor_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return std::nullopt;
    fail(path_ / name, "a file that can be looked at", errno);
  }
  return FileState{S_ISREG(info.st_mode), static_cast<uint64_t>(info.st_size),
                   int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec};
}

Descriptor Folder::open_file(const std::string& name, int flags) const {
  Descriptor descriptor(::openat(descriptor_.get(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!descriptor) fail(path_ / name, "a file that can be opened", errno);
  return descriptor;
}

std::string Folder::read_text(const std::string& name, uint64_t max_bytes) const {
  const Descriptor file = open_file(name, O_RDONLY);
  std::string text;
  std::array<char, 1 << 16> buffer{};
  while (true) {
    const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_ / name, "a readable file", errno);
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(count));
    if (text.size() > max_bytes) fail(path_ / name, str("at most ", max_bytes, " bytes"), EFBIG);
  }
}

void Folder::remove(const std::string& name) const {
  if (::unlinkat(descriptor_.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
    fail(path_ / name, "a file that can be removed", errno);
  }
}

void Folder::rename(const std::string& name, const Folder& to_folder, const std::string& to) const {
  if (::renameat(descriptor_.get(), name.c_str(), to_folder.descriptor_.get(), to.c_str()) != 0) {
    fail(to_folder.path_ / to, str("a name for ", (path_ / name).string(), " on the same file system"), errno);
  }
}

void Folder::sync() const {
  // Some network file systems cannot fsync a folder; they say EINVAL.
  if (::fsync(descriptor_.get()) != 0 && errno != EINVAL) fail(path_, "a folder that can be synced to disk", errno);
}

std::string file_name_of(std::string_view relative) {
  return std::string(relative.substr(relative.rfind('/') + 1));
}

DownloadLock::DownloadLock(const Folder& state_folder, const fs::path& shown)
    : descriptor_(state_folder.open_file("lock", O_RDWR | O_CREAT)) {
  if (::flock(descriptor_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      const std::string holder(trim(state_folder.read_text("lock", 64)));
      throw StorageError(str("[", shown.string(), "] expected no other download into this folder, got one",
                             holder.empty() ? "" : " (process " + holder + ")", " (try again when it has ended)"));
    }
    // Lustre without the mount option flock, or some FUSE systems: no lock is better than no download.
    log_warning("[", shown.string(), "] this file system has no locks (", std::strerror(errno),
                "): start only one download into it at a time");
    return;
  }
  const std::string owner = str(::getpid(), "\n");
  if (::ftruncate(descriptor_.get(), 0) != 0 ||
      ::pwrite(descriptor_.get(), owner.data(), owner.size(), 0) != static_cast<ssize_t>(owner.size())) {
    fail(state_folder.path() / "lock", "a file that can be written", errno);
  }
}

uint64_t free_bytes(const fs::path& path) {
  fs::path existing = path.empty() ? fs::path(".") : path;
  struct statvfs info {};
  while (::statvfs(existing.c_str(), &info) != 0) {
    if (errno != ENOENT) fail(existing, "a folder", errno);
    existing =
        existing.has_parent_path() && existing.parent_path() != existing ? existing.parent_path() : fs::path(".");
  }
  return uint64_t{info.f_bavail} * info.f_frsize;
}

}  // namespace millrace
