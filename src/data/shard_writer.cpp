#include "data/shard_writer.h"

#include <cstdio>

#include "base/error.h"

namespace millrace {

ShardWriter::ShardWriter(std::filesystem::path folder, std::string prefix, int64_t samples_per_shard)
    : folder_(std::move(folder)), prefix_(std::move(prefix)), samples_per_shard_(samples_per_shard) {
  MILLRACE_CHECK(samples_per_shard > 0);
}

void ShardWriter::add(const std::string& key, const std::vector<std::pair<std::string, std::string>>& members) {
  if (samples_in_shard_ == samples_per_shard_) close();
  if (!tar_) {
    ++shards_;
    tar_ = std::make_unique<TarWriter>(folder_ / shard_name());
  }
  for (const auto& [extension, content] : members) tar_->add(key + "." + extension, content);
  ++samples_in_shard_;
}

std::string ShardWriter::shard_name() const {
  char number[32];
  std::snprintf(number, sizeof number, "-%06lld.tar", static_cast<long long>(shards_ - 1));
  return prefix_ + number;
}

void ShardWriter::close() {
  if (!tar_) return;
  tar_->close();
  tar_.reset();
  samples_in_shard_ = 0;
}

}  // namespace millrace
