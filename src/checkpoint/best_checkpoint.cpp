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

namespace millrace {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_not_kept(const fs::path& path, const std::string& why) {
  throw StorageError(str("[", path.string(), "] expected a place for the best checkpoint, got: ", why));
}

void link_or_copy(const fs::path& from, const fs::path& to) {
  if (::link(from.c_str(), to.c_str()) == 0) return;
  std::error_code error;
  fs::copy_file(from, to, error);
  if (error) throw_not_kept(to, error.message());
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
  const fs::path source = folder / step_folder_name(step), best = folder / kBestCheckpointName;
  const fs::path complete = temporary_path(folder, kBestCheckpointName);
  std::error_code error;
  fs::create_directories(complete, error);
  if (error) throw_not_kept(complete, error.message());
  fs::directory_iterator files(source, error);
  if (error) throw_not_kept(source, error.message());
  for (const fs::directory_entry& file : files) link_or_copy(file.path(), complete / file.path().filename());
  fsync_folder(complete);

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
