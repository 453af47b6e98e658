// One process makes a file while others wait for it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace millrace {

// What is written to temporary() gets its final name by commit(). The temporary file is locked by flock(), which the
// kernel drops with the process: what a killed one left is claimed, and overwritten, by the next.
class FileClaim {
 public:
  enum class Outcome { kMine, kTaken, kNoLocks };

  // path: the final name; its folder exists. Throws StorageError where the folder cannot be written to.
  explicit FileClaim(const std::filesystem::path& path);
  ~FileClaim();  // without commit(), what was written is removed
  FileClaim(const FileClaim&) = delete;
  FileClaim& operator=(const FileClaim&) = delete;

  // kMine: this object holds the claim until its end. kTaken: another one, of this process or any other, writes the
  // file. kNoLocks: the file system has no locks, so that it is unknown whether another one does.
  Outcome outcome() const { return outcome_; }
  const std::filesystem::path& temporary() const { return temporary_; }
  // Bytes that the other one has written so far.
  uint64_t bytes_so_far() const;
  void commit();

 private:
  Outcome take();

  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
  Outcome outcome_;
};

// Makes a file unless it is there, in one process while others that want it wait, and take over from one that dies.
// is_there: whether the file can be used, asked before and after each wait; make: writes claim.temporary() and commits
// the claim; what: for the log, what the process does that makes the file. The folder is made where it does not exist.
// Throws StorageError where the folder cannot be written to or has no locks, and where another process adds nothing to
// the file for so many seconds of patience.
void make_file_once(const std::filesystem::path& path, const std::string& what, double patience,
                    const std::function<bool()>& is_there, const std::function<void(FileClaim& claim)>& make);

}  // namespace millrace
