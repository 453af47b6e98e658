#include "prepare_share.h"

#include <algorithm>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "comm/world.h"

namespace millrace {

UnitShare prepare_share(int num_workers) {
  constexpr int kMaxWorkers = 1024;
  if (num_workers < 0 || num_workers > kMaxWorkers)
    throw ConfigError(str("[--num-workers] expected 0 to ", kMaxWorkers, ", got ", num_workers));
  const World world = detect_world();
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  const int threads = num_workers > 0 ? num_workers : std::max(1, cores / std::max(1, world.local_size));
  if (world.rank != 0) set_console_log_level(LogLevel::kWarning);
  return {world.rank, world.size, threads};
}

PrepareProgress show_progress(const UnitShare& share, ProgressBar& bar) {
  if (share.rank != 0) return {};
  return [&bar](int64_t done, int64_t total, bool is_new) { bar.update(done, total, is_new); };
}

}  // namespace millrace
