// Keeps other processes out of a folder for as long as this one lives, however it ends.
#pragma once

#include <filesystem>
#include <string>

namespace millrace {

// An exclusive flock() on a file in the folder, which the kernel drops with the process: one that was killed leaves no
// lock. The file stays and names the last holder.
class FolderLock {
 public:
  // While another process holds the lock, waits for it: half a second if the holder is alive on this machine, two
  // minutes if it runs on another machine, which may be lost, else `patience_seconds`. Then throws StorageError naming
  // folder and holder. Also throws StorageError when the folder is not writable. On a file system without locks it
  // warns and proceeds without one.
  explicit FolderLock(const std::filesystem::path& folder, const std::string& file_name = ".lock",
                      double patience_seconds = 5);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace millrace
