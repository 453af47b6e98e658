#include "formats/atomic_file.h"

#include <system_error>

#include "base/error.h"
#include "base/log.h"

namespace millrace {

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path), temporary_(temporary_name(path)) {
  writer_.emplace(temporary_);
}

AtomicFile::~AtomicFile() {
  if (!writer_) return;
  writer_.reset();
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::commit() {
  MILLRACE_CHECK(writer_.has_value());
  writer_->close();
  std::error_code error;
  std::filesystem::rename(temporary_, path_, error);
  if (error)
    throw StorageError(str("[", path_.string(), "] expected a name that can be written, got: ", error.message()));
  writer_.reset();
  fsync_folder(path_.parent_path());
}

}  // namespace millrace
