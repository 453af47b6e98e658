#include "data/tar_shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/printable.h"
#include "base/text.h"
#include "data/json_sidecar.h"
#include "data/tar_index.h"
#include "data/tar_samples.h"
#include "formats/json.h"

namespace millrace {
namespace {

struct ExtensionMeaning {
  const char* extension;
  SampleField field;
};

// If several extensions mean the same field, the first in this list is used.
constexpr ExtensionMeaning kExtensions[] = {
    {"png", SampleField::kPicture},     {"jpg", SampleField::kPicture},         {"jpeg", SampleField::kPicture},
    {"webp", SampleField::kPicture},    {"txt", SampleField::kCaption},         {"caption", SampleField::kCaption},
    {"json", SampleField::kJson},       {"t5.bytes", SampleField::kT5},         {"clip.bytes", SampleField::kClip},
    {"mean.bytes", SampleField::kMean}, {"logvar.bytes", SampleField::kLogvar},
};
constexpr int kNoRank = 99;

}  // namespace

void TarShard::take_samples(const std::vector<TarMember>& members) {
  for (const TarSample& found : group_tar_samples(members)) {
    if (!found.problem.empty()) problems_[samples_.size()] = found.problem;
    Sample& sample = samples_.emplace_back();
    sample.key = found.key;
    std::array<int, kNumSampleFields> ranks{};
    ranks.fill(kNoRank);
    for (const TarSample::File& file : found.files) {
      const std::string lower = to_lower(file.extension);
      for (int rank = 0; rank < static_cast<int>(std::size(kExtensions)); ++rank) {
        const auto field = static_cast<size_t>(kExtensions[rank].field);
        if (lower != kExtensions[rank].extension || rank >= ranks[field]) continue;
        sample.fields[field] = {file.member->offset, file.member->size};
        ranks[field] = rank;
      }
    }
  }
}

std::string TarShard::problem(size_t sample) const {
  const auto found = problems_.find(sample);
  return found == problems_.end() ? "" : found->second;
}

TarShard::Descriptor::Descriptor(const std::filesystem::path& path)
    : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) {
    throw DataError("[" + printable(path.string()) +
                    "] expected a tar file that can be read, got: " + std::strerror(errno));
  }
}

TarShard::Descriptor::~Descriptor() {
  ::close(descriptor_);
}

TarShard::TarShard(const ShardFile& file) : SampleShard(file), descriptor_(file.path) {
  TarIndex index = index_tar(descriptor_.get(), path_);
  take_samples(index.members);
  damage_ = std::move(index.damage);
  if (!damage_.empty()) samples_.push_back({"(the rest)", {}});
}

std::string TarShard::find_early_damage(const ShardFile& file) {
  const Descriptor descriptor(file.path);
  const TarIndex index = index_tar(descriptor.get(), file.path, /*max_members=*/1);
  return index.damage.empty() || !index.members.empty() ? "" : "expected a whole file, got " + index.damage;
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
  read_at(descriptor_.get(), piece.offset, scratch, path_);
  return std::as_bytes(std::span(scratch.data(), scratch.size()));
}

std::optional<int64_t> TarShard::timestep(size_t sample) const {
  const auto found = sidecar_member(*this, sample, "timestep");
  if (!found || found->is_null()) return std::nullopt;
  if (!found->is_number_integer()) {
    throw DataError("[" + describe(sample) + "] expected a whole number for \"timestep\", got a " + found->type_name());
  }
  return found->get<int64_t>();
}

}  // namespace millrace
