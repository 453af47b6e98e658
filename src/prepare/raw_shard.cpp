#include "prepare/raw_shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "data/tar_index.h"
#include "data/tar_samples.h"
#include "prepare/webdataset_fields.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

}  // namespace

const RawFile* RawEntry::find(const std::string& field) const {
  for (const RawFile& file : files) {
    if (file.field == field) return &file;
  }
  return nullptr;
}

RawShard::RawShard(const ShardFile& file) : path_(file.path), damage_(file.problem) {
  if (!damage_.empty()) return;
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) {
    throw StorageError(
        str("[", printable(path_.string()), "] expected a file that can be read, got: ", std::strerror(errno)));
  }
  try {
    TarIndex index = index_tar(descriptor_, path_);
    damage_ = std::move(index.damage);
    for (const TarSample& sample : group_tar_samples(index.members, is_sample_name)) {
      RawEntry& entry = entries_.emplace_back();
      entry.key = sample.key;
      entry.problem = sample.problem;
      for (const TarSample::File& found : sample.files)
        entry.files.push_back({std::string(found.extension), found.member->offset, found.member->size});
    }
  } catch (const DataError& error) {
    damage_ = without_place(error.what());
  }
}

RawShard::~RawShard() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::string RawShard::describe(size_t entry) const {
  return printable(path_.filename().string()) + ": " + printable(entries_[entry].key);
}

void RawShard::read(const RawFile& file, std::string& content) const {
  if (file.size > kMaxFileBytes) {
    throw DataError(str("[", path_.string(), "] expected files of at most ", human_bytes(kMaxFileBytes), ", got ",
                        human_bytes(file.size)));
  }
  content.resize(file.size);
  read_at(descriptor_, file.offset, content, path_);
}

}  // namespace millrace
