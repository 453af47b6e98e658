#include "checkpoint/checkpoint_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/checkpoint_index.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr char kStepPrefix[] = "step-";
constexpr char kTemporaryPrefix[] = ".tmp-";

std::vector<fs::path> entries(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> paths;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    paths.push_back(entry->path());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw StorageError(str("[", folder.string(), "] expected a folder that can be read, got: ", error.message()));
  }
  return paths;
}

std::string zero_padded(int64_t number, size_t width) {
  const std::string digits = std::to_string(number);
  return std::string(digits.size() < width ? width - digits.size() : 0, '0') + digits;
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return;
  throw StorageError(str("[", to.string(), "] expected a name that can be taken, got: ", std::strerror(errno)));
}

void delete_folder(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) log_warning("[", path.string(), "] could not be deleted: ", error.message());
}

// An incomplete folder may be all that is left of a checkpoint: its name is needed, but its files are kept.
void set_aside_if_incomplete(const fs::path& step_folder) {
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(step_folder, ignored))) return;
  const std::string problem = missing_part(step_folder);
  if (problem.empty()) return;
  fs::path aside = step_folder.string() + ".incomplete";
  for (int number = 2; fs::exists(fs::symlink_status(aside, ignored)); ++number) {
    aside = str(step_folder.string(), ".incomplete-", number);
  }
  rename_or_fail(step_folder, aside);
  log_warning(problem, ": what had the name of the new checkpoint is kept as ", aside.filename().string());
}

}  // namespace

std::string step_folder_name(int64_t step) {
  return kStepPrefix + zero_padded(step, 8);
}

int64_t parse_step_folder(const std::string& name) {
  if (!starts_with(name, kStepPrefix)) return -1;
  const std::string digits = name.substr(sizeof kStepPrefix - 1);
  if (digits.empty() || digits.size() > 18) return -1;
  if (!std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) return -1;
  const int64_t step = std::stoll(digits);
  return step_folder_name(step) == name ? step : -1;
}

std::string shard_file_name(int rank, int world_size) {
  const std::string of_all = world_size == 1 ? "" : "-of-" + zero_padded(world_size, 5);
  return "rank-" + zero_padded(rank, 5) + of_all + ".safetensors";
}

fs::path temporary_path(const fs::path& folder, const std::string& purpose) {
  static std::atomic<uint64_t> counter{0};
  return folder / str(kTemporaryPrefix, purpose, "-", ::getpid(), "-", counter++);
}

std::vector<StepFolder> step_folders(const fs::path& folder) {
  std::vector<StepFolder> found;
  for (const fs::path& path : entries(folder)) {
    const int64_t step = parse_step_folder(path.filename().string());
    std::error_code ignored;
    if (step >= 0) found.push_back({step, fs::is_regular_file(path / kCheckpointIndexName, ignored)});
  }
  std::sort(found.begin(), found.end(), [](const StepFolder& a, const StepFolder& b) { return a.step < b.step; });
  return found;
}

std::vector<int64_t> checkpoint_steps(const fs::path& folder) {
  std::vector<int64_t> steps;
  for (const StepFolder& found : step_folders(folder)) {
    if (found.has_index) steps.push_back(found.step);
  }
  return steps;
}

std::string missing_part(const fs::path& step_folder) {
  try {
    for (const auto& [name, file] : read_checkpoint_index(step_folder / kCheckpointIndexName).files) {
      const fs::path path = step_folder / name;
      std::error_code error;
      const uint64_t size = fs::file_size(path, error);
      if (error) return str("[", path.string(), "] expected a file, got: ", error.message());
      if (size != file.size) return str("[", path.string(), "] expected ", file.size, " bytes, got ", size);
    }
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void remove_leftovers(const fs::path& folder) {
  for (const fs::path& path : entries(folder)) {
    if (starts_with(path.filename().string(), kTemporaryPrefix)) delete_folder(path);
  }
}

void commit_step(const fs::path& folder, const fs::path& complete, int64_t step) {
  const fs::path final_path = folder / step_folder_name(step);
  set_aside_if_incomplete(final_path);
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(final_path, ignored))) {
    rename_or_fail(complete, final_path);
    fsync_folder(folder);
    return;
  }
  if (::renameat2(AT_FDCWD, complete.c_str(), AT_FDCWD, final_path.c_str(), RENAME_EXCHANGE) == 0) {
    fsync_folder(folder);
    delete_folder(complete);
    return;
  }
  // Some network file systems cannot exchange two names. If killed in between, a run resumes from an older one.
  const fs::path old = temporary_path(folder, "replaced-" + step_folder_name(step));
  rename_or_fail(final_path, old);
  rename_or_fail(complete, final_path);
  fsync_folder(folder);
  delete_folder(old);
}

void remove_old_checkpoints(const fs::path& folder, int64_t step, int keep_latest_k) {
  if (keep_latest_k <= 0) return;
  try {
    std::vector<int64_t> steps = checkpoint_steps(folder);
    std::erase_if(
        steps, [&](int64_t other) { return other > step || !missing_part(folder / step_folder_name(other)).empty(); });
    const auto keep = static_cast<size_t>(keep_latest_k);
    if (steps.size() <= keep) return;
    for (size_t i = 0; i < steps.size() - keep; ++i) {
      const std::string name = step_folder_name(steps[i]);
      const fs::path doomed = temporary_path(folder, "delete-" + name);
      rename_or_fail(folder / name, doomed);
      fsync_folder(folder);
      delete_folder(doomed);
    }
  } catch (const Error& error) {
    log_warning(error.what(), "; an old checkpoint stays");
  }
}

}  // namespace millrace
