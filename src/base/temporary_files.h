// Half-written files go with the program also when a signal ends it: Ctrl-C in an export of 24 GB leaves nothing
// behind.
#pragma once

#include <filesystem>

namespace millrace {

// Names a file that is not complete yet, for as long as the object lives. Any thread may make one.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& path);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

 private:
  int slot_;  // -1: more at once, or a longer name, than are kept
};

// From now on SIGINT, SIGTERM and SIGHUP, unless they are ignored, delete the files that are named then, say so on
// stderr and end the program as they would have. Whoever sets other handlers has its own way to end.
void remove_temporary_files_on_signals();

}  // namespace millrace
