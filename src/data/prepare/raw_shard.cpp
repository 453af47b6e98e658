#include "data/prepare/raw_shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "data/prepare/webdataset_fields.h"
#include "data/tar_index.h"

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

RawShard::RawShard(const std::filesystem::path& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) {
    throw StorageError(str("[", path.string(), "] expected a file that can be read, got: ", std::strerror(errno)));
  }
  try {
    TarIndex index = index_tar(descriptor_, path);
    damage_ = std::move(index.damage);
    for (const TarMember& member : index.members) {
      std::string_view key, field;
      if (!split_member_name(member.name, key, field)) continue;
      if (entries_.empty() || entries_.back().key != key) entries_.push_back({std::string(key), {}});
      entries_.back().files.push_back({std::string(field), member.offset, member.size});
    }
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

RawShard::~RawShard() {
  ::close(descriptor_);
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
