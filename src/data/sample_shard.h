// One file of a data set: a sequence of samples, each with some of the fields below.
//
// Sample order, shuffling and position need nothing else of a file; a SampleDecoder interprets a sample's
// fields.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "data/shard_list.h"

namespace millrace {

enum class SampleField { kPicture, kCaption, kJson, kT5, kClip, kMean, kLogvar };
constexpr size_t kNumSampleFields = 7;

class SampleShard {
 public:
  virtual ~SampleShard() = default;
  SampleShard(const SampleShard&) = delete;
  SampleShard& operator=(const SampleShard&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const std::string& name() const { return name_; }

  virtual size_t size() const = 0;  // samples
  virtual std::string key(size_t sample) const = 0;
  // The same on every rank and in every epoch, wherever the data set lies.
  virtual uint64_t sample_id(size_t sample) const = 0;
  // "folder/shard-000.tar: key", for messages: printable().
  std::string describe(size_t sample) const;
  // Why a sample is unusable whatever its fields hold, as "expected X, got Y"; empty: it is usable.
  virtual std::string problem(size_t) const { return {}; }

  // A file whose tail is damaged ends with one extra sample that stands for the lost part, so that it is counted.
  const std::string& damage() const { return damage_; }  // empty: the file is whole
  bool is_damage(size_t sample) const { return !damage_.empty() && sample + 1 == size(); }
  // "[file] expected a whole file, got X"
  virtual std::string damage_message() const;
  // Throws DataError for a sample with a problem and for the one that stands for damage.
  void check_usable(size_t sample) const;

  // Bytes of a field; nullopt: the sample has none.
  virtual std::optional<uint64_t> field_size(size_t sample, SampleField field) const = 0;
  // The first max_bytes of an existing field; valid while the shard lives and scratch is unchanged. Throws DataError
  // when the field cannot be read or is larger than cap. Thread-safe.
  virtual std::span<const std::byte> view(size_t sample, SampleField field, uint64_t max_bytes, uint64_t cap,
                                          std::string& scratch) const = 0;
  // The sample's validation timestep, numbered as by `prepare coco`; nullopt: it has none. Throws DataError when it
  // cannot be read.
  virtual std::optional<int64_t> timestep(size_t sample) const = 0;

 protected:
  explicit SampleShard(const ShardFile& file) : path_(file.path), name_(file.name) {}
  [[noreturn]] void throw_above_cap(size_t sample, uint64_t size, uint64_t cap) const;

  std::filesystem::path path_;
  std::string name_;
  std::string damage_;
};

// Opens a file and finds its samples. Throws DataError when the file is not of its kind, unless the list already notes
// a problem: then returns a shard that is lost entirely, with one sample that stands for damage.
std::shared_ptr<const SampleShard> open_shard(const ShardFile& file);

// Inspects the beginning of a file. Returns the problem of a file that is not a shard or is damaged before its first
// sample, as "expected X, got Y"; empty: none.
std::string find_lost(const ShardFile& file);

}  // namespace millrace
