// An open folder whose files are reached one path component at a time: symbolic links are never followed, so that
// nothing is read or written outside, whatever file names a server sends and whoever changes the folder meanwhile.
// All failures throw StorageError naming the path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace millrace {

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  int get() const { return value_; }
  explicit operator bool() const { return value_ >= 0; }

 private:
  int value_;
};

struct FileState {
  bool is_regular = false;
  uint64_t size = 0;
  int64_t modified_ns = 0;
};

class Folder {
 public:
  // The folder at path; symbolic links in path itself are the user's and are followed. create: creates missing folders.
  static Folder open(const std::filesystem::path& path, bool create);
  // nullopt if it does not exist.
  static std::optional<Folder> open_existing(const std::filesystem::path& path);

  // The folder that holds the file `relative` ("a/b/c.tar": a/b). nullopt if absent and not to be created.
  std::optional<Folder> parent_of(std::string_view relative, bool create) const;

  // Names below are single components.
  std::optional<FileState> state(const std::string& name) const;  // of a link, not of its target
  // flags as for open(2); throws when it cannot be opened.
  Descriptor open_file(const std::string& name, int flags) const;
  std::string read_text(const std::string& name, uint64_t max_bytes) const;
  void remove(const std::string& name) const;  // no effect if absent
  // Replaces an existing `to`.
  void rename(const std::string& name, const Folder& to_folder, const std::string& to) const;
  void sync() const;

  const std::filesystem::path& path() const { return path_; }
  int descriptor() const { return descriptor_.get(); }

 private:
  Folder(std::filesystem::path path, Descriptor descriptor)
      : path_(std::move(path)), descriptor_(std::move(descriptor)) {}

  std::filesystem::path path_;
  Descriptor descriptor_;
};

// "c.tar" of "a/b/c.tar".
std::string file_name_of(std::string_view relative);

// A lock: one process at a time works in a folder. Held as long as the object lives; released when the process ends.
class DownloadLock {
 public:
  // Throws, naming the holder's process id, when another process holds the lock.
  explicit DownloadLock(const Folder& state_folder, const std::filesystem::path& shown);

 private:
  Descriptor descriptor_;
};

// Bytes that an unprivileged user may still write there; if path does not exist, at its nearest existing parent.
uint64_t free_bytes(const std::filesystem::path& path);

}  // namespace millrace
