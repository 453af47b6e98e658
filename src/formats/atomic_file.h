// A file written piece by piece that gets its name only when it is complete.
#pragma once

#include <filesystem>
#include <optional>

#include "base/files.h"
#include "base/temporary_files.h"

namespace millrace {

class AtomicFile {
 public:
  // Opens a temporary name in path's folder. Throws StorageError, as all of this class does.
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();  // without commit(): removes what was written
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  FileWriter& writer() { return *writer_; }
  // fsyncs and renames: from now on path holds everything.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  TemporaryFile named_{temporary_};
  std::optional<FileWriter> writer_;
};

}  // namespace millrace
