#include "checkpoint/best_checkpoint.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/link_checkpoint.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_not_kept(const fs::path& path, const std::string& why) {
  throw StorageError(str("[", path.string(), "] expected a place for the best checkpoint, got: ", why));
}

void rename_or_throw(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_not_kept(to, std::strerror(errno));
}

void remove_folder(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) log_warning("[", path.string(), "] could not be deleted: ", error.message());
}

}  // namespace

void keep_best_checkpoint(const fs::path& folder, int64_t step) {
  const fs::path best = folder / kBestCheckpointName, complete = temporary_path(folder, kBestCheckpointName);
  link_checkpoint(folder, step, complete);

  std::error_code error;
  if (!fs::exists(fs::symlink_status(best, error))) {
    rename_or_throw(complete, best);
  } else if (::renameat2(AT_FDCWD, complete.c_str(), AT_FDCWD, best.c_str(), RENAME_EXCHANGE) == 0) {
    remove_folder(complete);
  } else {
    const fs::path old = temporary_path(folder, "replaced-best");
    rename_or_throw(best, old);
    rename_or_throw(complete, best);
    remove_folder(old);
  }
  fsync_folder(folder);
}

}  // namespace millrace
