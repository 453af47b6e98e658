#include "prepare/sample_source.h"

#include "base/error.h"
#include "base/log.h"
#include "prepare/webdataset_files.h"

namespace millrace {

std::unique_ptr<SampleSource> open_samples(const std::string& path, int num_threads) {
  std::vector<ShardFile> files = list_shards({path});
  if (files.front().kind == ShardKind::kArrow) return open_arrow_samples(files);
  return open_webdataset_samples(choose_train_files(path, std::move(files)), num_threads);
}

void check_shard_damage(const SampleSource& source, bool is_allowed) {
  const std::vector<std::string> damage = source.damage();
  if (damage.empty()) return;
  if (!is_allowed) {
    throw DataError(str("[", damage[0], "] expected whole files, got ", damage.size(),
                        " with damage (try downloading again, or --allow-damaged-shards to use the intact part)"));
  }
  for (const std::string& file : damage) log_warning(file, ": its samples up to there are used");
}

}  // namespace millrace
