// The verified files of an output folder: one line each in the state folder, so that a second run neither rereads
// terabytes nor takes a file for complete that only has the right size.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "download/checksum.h"
#include "download/folder.h"

namespace millrace {

class VerifiedFiles {
 public:
  // Reads existing entries; malformed lines are skipped.
  static VerifiedFiles load(const Folder& state_folder);

  // The checksum that the file had when it was verified; "" if it was not, or has changed since (size, time).
  std::string checksum_of(const std::string& path, const FileState& state) const;
  // Adds a line. Throws StorageError.
  void add(const Folder& state_folder, const std::string& path, const Checksum& checksum, const FileState& state);

 private:
  struct Entry {
    std::string checksum;  // "sha256:..."
    uint64_t size = 0;
    int64_t modified_ns = 0;
  };
  std::map<std::string, Entry> entries_;
  bool is_torn_ = false;  // the last line was cut short
};

}  // namespace millrace
