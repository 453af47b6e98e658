#include "checkpoint/link_checkpoint.h"

#include <unistd.h>

#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "checkpoint/checkpoint_folder.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_no_place(const fs::path& path, const std::string& why) {
  throw StorageError(str("[", path.string(), "] expected a place for a checkpoint's files, got: ", why));
}

}  // namespace

void link_or_copy(const fs::path& from, const fs::path& to) {
  if (::link(from.c_str(), to.c_str()) == 0) return;
  std::error_code error;
  fs::copy_file(from, to, error);
  if (error) throw_no_place(to, error.message());
}

void link_checkpoint(const fs::path& folder, int64_t step, const fs::path& target) {
  const fs::path source = folder / step_folder_name(step);
  std::error_code error;
  fs::create_directories(target, error);
  if (error) throw_no_place(target, error.message());
  fs::directory_iterator files(source, error);
  if (error) throw_no_place(source, error.message());
  for (const fs::directory_entry& file : files) link_or_copy(file.path(), target / file.path().filename());
  fsync_folder(target);
}

}  // namespace millrace
