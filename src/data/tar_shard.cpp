#include "data/tar_shard.h"

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
#include "formats/json.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxJsonBytes = 1 << 20;

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

struct ExtensionMeaning {
  const char* extension;
  SampleField field;
};

// Where several extensions mean the same field, the first in this list is taken.
constexpr ExtensionMeaning kExtensions[] = {
    {"png", SampleField::kPicture},     {"jpg", SampleField::kPicture},         {"jpeg", SampleField::kPicture},
    {"webp", SampleField::kPicture},    {"txt", SampleField::kCaption},         {"caption", SampleField::kCaption},
    {"json", SampleField::kJson},       {"t5.bytes", SampleField::kT5},         {"clip.bytes", SampleField::kClip},
    {"mean.bytes", SampleField::kMean}, {"logvar.bytes", SampleField::kLogvar},
};
constexpr int kNoRank = 99;

}  // namespace

std::vector<TarShard::Sample> TarShard::group(const std::vector<TarMember>& members) {
  std::vector<Sample> samples;
  std::array<int, kNumSampleFields> ranks{};
  for (const TarMember& member : members) {
    std::string_view key, extension;
    split_name(member.name, key, extension);
    if (key.empty()) continue;
    if (samples.empty() || samples.back().key != key) {
      samples.push_back({std::string(key), {}});
      ranks.fill(kNoRank);
    }
    const std::string lower = to_lower(extension);
    for (int rank = 0; rank < static_cast<int>(std::size(kExtensions)); ++rank) {
      const auto field = static_cast<size_t>(kExtensions[rank].field);
      if (lower != kExtensions[rank].extension || rank >= ranks[field]) continue;
      samples.back().fields[field] = {member.offset, member.size};
      ranks[field] = rank;
    }
  }
  return samples;
}

TarShard::TarShard(const ShardFile& file) : SampleShard(file) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) {
    throw DataError("[" + path_.string() + "] expected a readable tar file, got: " + std::strerror(errno));
  }
  try {
    TarIndex index = index_tar(descriptor_, path_);
    samples_ = group(index.members);
    damage_ = std::move(index.damage);
    if (!damage_.empty()) samples_.push_back({"(the rest)", {}});
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

TarShard::~TarShard() {
  ::close(descriptor_);
}

uint64_t TarShard::sample_id(size_t sample) const {
  const std::string text = name_ + '\0' + samples_[sample].key;
  return checksum64(text.data(), text.size());
}

std::optional<uint64_t> TarShard::field_size(size_t sample, SampleField field) const {
  const Extent& piece = extent(sample, field);
  return piece.exists() ? std::optional(piece.size) : std::nullopt;
}

std::span<const std::byte> TarShard::view(size_t sample, SampleField field, uint64_t max_bytes, uint64_t cap,
                                          std::string& scratch) const {
  const Extent& piece = extent(sample, field);
  MILLRACE_CHECK(piece.exists());
  if (piece.size > cap) throw_above_cap(sample, piece.size, cap);
  scratch.resize(std::min(piece.size, max_bytes));
  read_at(descriptor_, piece.offset, scratch, path_);
  return std::as_bytes(std::span(scratch.data(), scratch.size()));
}

std::optional<int64_t> TarShard::timestep(size_t sample) const {
  if (!extent(sample, SampleField::kJson).exists()) return std::nullopt;
  std::string text;
  view(sample, SampleField::kJson, kMaxJsonBytes, kMaxJsonBytes, text);
  const nlohmann::json json = parse_json<DataError>(text, describe(sample));
  const auto found = json.is_object() ? json.find("timestep") : json.end();
  if (found == json.end() || found->is_null()) return std::nullopt;
  if (!found->is_number_integer()) {
    throw DataError("[" + describe(sample) + "] expected a whole number for \"timestep\", got " + found->dump());
  }
  return found->get<int64_t>();
}

}  // namespace millrace
