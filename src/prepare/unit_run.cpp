#include "prepare/unit_run.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "formats/json.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIdentityName = "options.json";
constexpr uint64_t kMaxResultBytes = uint64_t{256} << 20;
constexpr double kBeginSeconds = 30;                  // within which ranks launched together start
constexpr uint64_t kSpareBytes = uint64_t{64} << 20;  // left free on the disk

constexpr const char* kResultExtension = ".json";

std::optional<UnitResult> read_result(const fs::path& folder, int64_t unit) {
  const fs::path path = unit_path(folder, unit, kResultExtension);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  return parse_ordered_json<DataError>(read_file(path, kMaxResultBytes), path.string());
}

class Runner {
 public:
  Runner(const fs::path& folder, const UnitShare& share, const UnitJob& job)
      : folder_(folder), share_(share), job_(job) {}

  std::vector<UnitResult> run() {
    work_off([this] { return next_of_own(); });
    if (share_.rank != 0) return {};
    // The first rank does the others' remaining units, from the last one down, while the others count up.
    std::vector<int64_t> missing;
    for (int64_t unit = 0; job_.exists(unit) && !is_enough(); ++unit) {
      if (!known(unit)) missing.push_back(unit);
    }
    work_off([&]() -> std::optional<int64_t> {
      if (missing.empty() || is_enough()) return std::nullopt;
      const int64_t unit = missing.back();
      missing.pop_back();
      return unit;
    });
    std::vector<UnitResult> results;
    for (int64_t unit = 0; job_.exists(unit); ++unit) {
      if (job_.is_enough && job_.is_enough(results)) break;
      MILLRACE_CHECK(known(unit));
      results.push_back(results_.at(unit));
    }
    return results;
  }

 private:
  // Calls next, one thread at a time, until no units are left, and does each unit unless another process has.
  void work_off(const std::function<std::optional<int64_t>()>& next) {
    const auto loop = [&] {
      while (true) {
        int64_t unit = 0;
        {
          const std::lock_guard lock(mutex_);
          if (failure_) return;
          try {
            const std::optional<int64_t> found = next();
            if (!found) return;
            unit = *found;
            if (known(unit)) continue;
            check_space();
            under_way_.insert(unit);
          } catch (...) {
            failure_ = std::current_exception();
            return;
          }
        }
        try {
          const UnitResult result = job_.work(unit);
          write_file_atomically(unit_path(folder_, unit, kResultExtension), result.dump());
          const std::lock_guard lock(mutex_);
          under_way_.erase(unit);
          add(unit, result, true);
        } catch (...) {
          const std::lock_guard lock(mutex_);
          // The first rank needs no more results and has cleaned up.
          std::error_code ignored;
          const bool is_over = share_.rank != 0 && !fs::exists(folder_ / kIdentityName, ignored);
          if (!failure_ && !is_over) failure_ = std::current_exception();
          return;
        }
      }
    };
    {
      ThreadPool pool(share_.num_threads);
      for (int i = 0; i < share_.num_threads; ++i) pool.submit(loop);
    }
    if (failure_) std::rethrow_exception(failure_);
  }

  // Below: with mutex_ held.

  std::optional<int64_t> next_of_own() {
    const int64_t unit = next_own_ * share_.size + share_.rank;
    if (is_enough() || !job_.exists(unit)) return std::nullopt;
    ++next_own_;
    return unit;
  }

  bool known(int64_t unit) {
    if (results_.count(unit)) return true;
    if (under_way_.count(unit)) return false;  // its file may be there before the thread that wrote it says so
    const std::optional<UnitResult> result = read_result(folder_, unit);
    if (result) add(unit, *result, false);
    return result.has_value();
  }

  void add(int64_t unit, const UnitResult& result, bool is_new) {
    if (!results_.emplace(unit, result).second) return;
    if (is_new) {
      const uint64_t bytes = result.value("bytes", uint64_t{0});
      largest_ = std::max(largest_, bytes);
      new_bytes_ += bytes;
      ++new_units_;
    }
    if (job_.on_result) job_.on_result(result, is_new);
  }

  bool is_enough() {
    if (!job_.is_enough) return false;
    while (known(static_cast<int64_t>(first_.size())))
      first_.push_back(results_.at(static_cast<int64_t>(first_.size())));
    return job_.is_enough(first_);
  }

  void check_space() const {
    std::error_code error;
    const uint64_t available = fs::space(folder_, error).available;
    if (error) return;
    uint64_t wanted = kSpareBytes + largest_ * static_cast<uint64_t>(share_.num_threads);
    if (new_units_ >= share_.num_threads && job_.remaining) {
      const auto left = static_cast<uint64_t>(std::max<int64_t>(0, job_.remaining()));
      wanted = std::max(wanted, kSpareBytes + new_bytes_ / static_cast<uint64_t>(new_units_) * left);
    }
    if (available < wanted) {
      throw StorageError(str("[", folder_.string(), "] expected about ", human_bytes(wanted),
                             " of free space for the remaining work, got ", human_bytes(available),
                             " (make room and repeat the same command: it resumes from here)"));
    }
  }

  const fs::path& folder_;
  const UnitShare& share_;
  const UnitJob& job_;
  std::mutex mutex_;
  std::map<int64_t, UnitResult> results_;
  std::set<int64_t> under_way_;    // in this process
  std::vector<UnitResult> first_;  // without a gap
  int64_t next_own_ = 0;
  uint64_t largest_ = 0, new_bytes_ = 0;
  int64_t new_units_ = 0;
  std::exception_ptr failure_;
};

}  // namespace

bool open_unit_folder(const fs::path& folder, const UnitResult& identity, const std::string& command,
                      const UnitShare& share, const std::function<bool()>& is_over) {
  const fs::path path = folder / kIdentityName;
  std::error_code ignored;
  if (share.rank != 0) {
    const double deadline = now_seconds() + kBeginSeconds;
    while (!fs::exists(path, ignored)) {
      if (now_seconds() > deadline || (is_over && is_over())) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  } else if (!fs::exists(path, ignored)) {
    create_folders(folder);
    write_file_atomically(path, identity.dump(1));
    return true;
  }
  std::string text;
  try {
    text = read_file(path, kMaxResultBytes);
  } catch (const StorageError&) {
    if (share.rank == 0) throw;
    return false;  // the first rank has just completed the job
  }
  const auto found = parse_ordered_json<DataError>(text, path.string());
  for (const auto& [key, value] : identity.items()) {
    const nlohmann::ordered_json other = found.is_object() ? found.value(key, nlohmann::ordered_json()) : nullptr;
    if (other == value) continue;
    throw ConfigError(str("[", command, "] expected the ", key, " of the unfinished run in this folder, ", other.dump(),
                          ", got ", value.dump(), " (use the same options to resume it, or remove ", folder.string(),
                          " to start over)"));
  }
  return true;
}

fs::path unit_path(const fs::path& folder, int64_t unit, const std::string& extension) {
  char number[32];
  std::snprintf(number, sizeof number, "unit-%07lld", static_cast<long long>(unit));
  return folder / (number + extension);
}

void move_unit_file(const fs::path& from, const fs::path& to) {
  std::error_code error;
  if (!fs::exists(from, error) && fs::exists(to, error)) return;
  fs::rename(from, to, error);
  if (error) throw StorageError(str("[", to.string(), "] expected a name that can be written, got: ", error.message()));
}

void remove_unit_folder(const fs::path& folder) {
  // Renamed first: that tells other ranks that the job is over, and a rank still working on a unit cannot put files
  // into the folder being removed.
  const fs::path gone = folder.parent_path() / (folder.filename().string() + ".done");
  std::error_code error, ignored;
  fs::remove_all(gone, ignored);  // left by a run that was killed here
  fs::rename(folder, gone, error);
  if (error) fs::remove(folder / kIdentityName, ignored);
  fs::remove_all(error ? folder : gone, ignored);
}

std::vector<UnitResult> run_units(const fs::path& folder, const UnitShare& share, const UnitJob& job) {
  return Runner(folder, share, job).run();
}

}  // namespace millrace
