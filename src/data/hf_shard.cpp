#include "data/hf_shard.h"

#include <algorithm>
#include <initializer_list>

#include "base/error.h"
#include "base/files.h"
#include "base/printable.h"
#include "base/text.h"

namespace millrace {
namespace {

struct FieldColumns {
  SampleField field;
  std::initializer_list<const char*> names;
};

const FieldColumns kColumns[] = {
    {SampleField::kPicture, {"png", "jpg", "jpeg", "webp", "image"}},
    {SampleField::kCaption, {"txt", "caption", "text"}},
    {SampleField::kT5, {"t5_encodings"}},
    {SampleField::kClip, {"clip_encodings"}},
    {SampleField::kMean, {"mean"}},
    {SampleField::kLogvar, {"logvar"}},
};

constexpr const char* kPathAlone =
    "expected the picture itself, got its path alone (try saving the set with the pictures in it)";

std::string to_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

HfShard::HfShard(const ShardFile& file)
    : SampleShard(file),
      file_(file.path),
      key_column_(file_.find_column("__key__")),
      timestep_column_(file_.find_column("timestep")) {
  bool any = false;
  for (const FieldColumns& entry : kColumns) {
    for (const char* name : entry.names) {
      const int column = file_.find_column(name);
      if (column < 0) continue;
      columns_[static_cast<size_t>(entry.field)].push_back(column);
      any = true;
    }
  }
  if (!any) {
    std::string names;
    for (const ArrowColumn& column : file_.columns()) names += (names.empty() ? "" : ", ") + column.name;
    throw DataError("[" + path_.string() +
                    "] expected columns with pictures and captions (png, txt) or their encodings "
                    "(t5_encodings, clip_encodings, mean, logvar), got " +
                    (names.empty() ? "none" : names));
  }
  damage_ = file_.damage();
}

size_t HfShard::size() const {
  return static_cast<size_t>(file_.num_rows()) + (damage_.empty() ? 0 : 1);
}

// Without a key if it cannot be read: problem() reports it.
std::optional<std::span<const std::byte>> HfShard::key_cell(size_t sample) const {
  if (key_column_ < 0 || is_damage(sample)) return std::nullopt;
  try {
    return file_.bytes(key_column_, static_cast<int64_t>(sample));
  } catch (const DataError&) {
    return std::nullopt;
  }
}

std::string HfShard::key(size_t sample) const {
  if (is_damage(sample)) return "(the rest)";
  const auto key = key_cell(sample);
  return key && !key->empty() ? to_text(*key) : "row " + std::to_string(sample);
}

uint64_t HfShard::sample_id(size_t sample) const {
  if (const auto key = key_cell(sample)) return checksum64(key->data(), key->size());
  const std::string text = name_ + '\0' + std::to_string(sample);
  return checksum64(text.data(), text.size());
}

std::string HfShard::problem(size_t sample) const {
  const auto row = static_cast<int64_t>(sample);
  try {
    const auto key = key_column_ < 0 ? std::nullopt : file_.bytes(key_column_, row);
    if (key && key->empty()) return "expected a name in __key__, got an empty one";
    if (key && !is_valid_utf8(to_text(*key)))
      return "expected a name in UTF-8 in __key__, got " + printable(to_text(*key));
    const std::vector<int>& pictures = columns_[static_cast<size_t>(SampleField::kPicture)];
    if (cell(sample, SampleField::kPicture)) return "";
    for (const int column : pictures) {
      if (!file_.is_null(column, row)) return kPathAlone;
    }
  } catch (const DataError& error) {
    return without_place(error.what());
  }
  return "";
}

std::optional<std::span<const std::byte>> HfShard::cell(size_t sample, SampleField field) const {
  if (is_damage(sample)) return std::nullopt;
  for (const int column : columns_[static_cast<size_t>(field)]) {
    if (const auto bytes = file_.bytes(column, static_cast<int64_t>(sample))) return bytes;
  }
  return std::nullopt;
}

std::optional<uint64_t> HfShard::field_size(size_t sample, SampleField field) const {
  const auto bytes = cell(sample, field);
  return bytes ? std::optional<uint64_t>(bytes->size()) : std::nullopt;
}

std::span<const std::byte> HfShard::view(size_t sample, SampleField field, uint64_t max_bytes, uint64_t cap,
                                         std::string&) const {
  const auto bytes = cell(sample, field);
  MILLRACE_CHECK(bytes.has_value());
  if (bytes->size() > cap) throw_above_cap(sample, bytes->size(), cap);
  return bytes->first(std::min<size_t>(bytes->size(), max_bytes));
}

std::optional<int64_t> HfShard::timestep(size_t sample) const {
  if (timestep_column_ < 0 || is_damage(sample)) return std::nullopt;
  return file_.integer(timestep_column_, static_cast<int64_t>(sample));
}

}  // namespace millrace
