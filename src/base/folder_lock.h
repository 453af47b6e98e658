// Keeps other processes out of a folder for as long as this one lives, however it ends.
#pragma once

#include <filesystem>
#include <string>

namespace millrace {

// An exclusive flock() on a file in the folder, which the kernel drops with the process: one that was killed leaves no
// lock. The file stays, and says who held it last.
class FolderLock {
 public:
  // Where another process has the lock, waits for it to end: half a second when it is alive on this machine, two
  // minutes when it is on another one, which may have been lost, else `patience_seconds`. Then throws StorageError
  // naming folder and holder. Throws StorageError, too, when the folder cannot be written to. On a file system without
  // locks it warns and goes without.
  explicit FolderLock(const std::filesystem::path& folder, const std::string& file_name = ".lock",
                      double patience_seconds = 5);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace millrace
