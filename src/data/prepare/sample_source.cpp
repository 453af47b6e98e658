#include "data/prepare/sample_source.h"

#include <filesystem>

#include "base/error.h"
#include "base/log.h"

namespace millrace {

namespace fs = std::filesystem;

std::unique_ptr<SampleSource> open_samples(const std::string& path, int num_threads) {
  std::error_code ignored;
  bool has_arrow = path.ends_with(".arrow") || fs::exists(fs::path(path) / "dataset_dict.json", ignored);
  if (fs::is_directory(path, ignored)) {
    for (const auto& entry : fs::directory_iterator(path, ignored)) {
      has_arrow = has_arrow || entry.path().extension() == ".arrow";
    }
  }
  return has_arrow ? open_arrow_samples(path) : open_webdataset_samples(path, num_threads);
}

void check_shard_damage(const SampleSource& source, bool is_allowed) {
  const std::vector<std::string> damage = source.damage();
  if (damage.empty()) return;
  if (!is_allowed) {
    throw DataError(str("[", damage[0], "] expected whole files, got ", damage.size(),
                        " with damage (try downloading again, or --allow-damaged-shards to take what is there)"));
  }
  for (const std::string& file : damage) log_warning(file, ": its samples up to there are taken");
}

}  // namespace millrace
