// Half-written files: their names, and their removal even when a signal ends the program, so that Ctrl-C during an
// export of 24 GB leaves nothing behind.
#pragma once

#include <filesystem>
#include <string_view>

namespace millrace {

// For what will become path: .NAME.tmp-1234-5 beside it, with the process and a number, so that no two writers share a
// name.
std::filesystem::path temporary_name(const std::filesystem::path& path);
// Whether this is such a name, of any process: a killed one leaves its files.
bool is_temporary_name(std::string_view name);

// Names a file that is not complete yet, for as long as the object lives. Any thread may make one.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& path);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

 private:
  int slot_;  // -1: no slot was free, or the name is too long for one
};

// Deletes the files named at this moment; safe in signal handlers.
void remove_temporary_files() noexcept;

// From now on SIGINT, SIGTERM and SIGHUP, unless ignored, delete the files named at that moment, report this on stderr
// and end the program as they would have. Code that installs other handlers replaces this behaviour.
void remove_temporary_files_on_signals();

}  // namespace millrace
