#include "adapters/background_file_hash.h"

#include <utility>

#include "adapters/kohya_hashes.h"

namespace millrace {

BackgroundFileHash::BackgroundFileHash(const std::filesystem::path& path) {
  std::packaged_task<std::string(std::stop_token)> task(
      [path](const std::stop_token& stop) { return kohya_file_sha256(path, stop); });
  hash_ = task.get_future().share();
  thread_ = std::jthread(std::move(task));
}

}  // namespace millrace
