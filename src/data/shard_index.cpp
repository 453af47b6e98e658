#include "data/shard_index.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "data/tar_index.h"

namespace millrace {
namespace {

// Splits at the first dot of the file name. Empty key: no member of a sample (hidden files, files without extension).
void split_name(std::string_view name, std::string_view& key, std::string_view& extension) {
  key = extension = {};
  const size_t slash = name.rfind('/');
  const size_t start = slash == std::string_view::npos ? 0 : slash + 1;
  const size_t dot = name.find('.', start);
  if (dot == std::string_view::npos || dot == start) return;
  key = name.substr(0, dot);
  extension = name.substr(dot + 1);
}

void place(SampleEntry& sample, const std::string& extension, const Extent& extent, int& picture_rank,
           int& caption_rank) {
  constexpr const char* kPictures[] = {"png", "jpg", "jpeg", "webp"};
  for (int rank = 0; rank < 4; ++rank) {
    if (extension != kPictures[rank] || rank >= picture_rank) continue;
    sample.picture = extent;
    picture_rank = rank;
  }
  constexpr const char* kCaptions[] = {"txt", "caption"};
  for (int rank = 0; rank < 2; ++rank) {
    if (extension != kCaptions[rank] || rank >= caption_rank) continue;
    sample.caption = extent;
    caption_rank = rank;
  }
  if (extension == "json" && !sample.json.exists()) sample.json = extent;
}

std::vector<SampleEntry> group(const std::vector<TarMember>& members) {
  constexpr int kNone = 99;
  std::vector<SampleEntry> samples;
  int picture_rank = kNone, caption_rank = kNone;
  for (const TarMember& member : members) {
    std::string_view key, extension;
    split_name(member.name, key, extension);
    if (key.empty()) continue;
    if (samples.empty() || samples.back().key != key) {
      samples.push_back({std::string(key), {}, {}, {}});
      picture_rank = caption_rank = kNone;
    }
    place(samples.back(), to_lower(extension), {member.offset, member.size}, picture_rank, caption_rank);
  }
  return samples;
}

}  // namespace

ShardIndex::ShardIndex(const ShardFile& shard) : path_(shard.path), name_(shard.name) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) {
    throw DataError("[" + path_.string() + "] expected a readable tar file, got: " + std::strerror(errno));
  }
  try {
    TarIndex index = index_tar(descriptor_, path_);
    samples_ = group(index.members);
    damage_ = std::move(index.damage);
    if (!damage_.empty()) samples_.push_back({"(the rest)", {}, {}, {}});
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

ShardIndex::~ShardIndex() {
  ::close(descriptor_);
}

std::string ShardIndex::describe(size_t sample) const {
  return path_.string() + ": " + samples_[sample].key;
}

uint64_t ShardIndex::sample_id(size_t sample) const {
  const std::string text = name_ + '\0' + samples_[sample].key;
  return checksum64(text.data(), text.size());
}

void ShardIndex::read(const Extent& extent, uint64_t max_bytes, uint64_t cap, std::string& out) const {
  if (extent.size > cap) {
    throw DataError("[" + path_.string() + "] expected a member of at most " + human_bytes(cap) + ", got " +
                    human_bytes(extent.size));
  }
  out.resize(std::min(extent.size, max_bytes));
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t count =
        ::pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(extent.offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      throw DataError("[" + path_.string() + "] expected " + std::to_string(out.size()) + " bytes at " +
                      std::to_string(extent.offset) + ", got " + (count < 0 ? std::strerror(errno) : "fewer"));
    }
    done += static_cast<size_t>(count);
  }
}

}  // namespace millrace
