// One file of a data set: samples that stand one after the other, each with some of the fields below.
//
// The order of the samples, their shuffling and the position in it need no more than this of a file; what a sample's
// fields mean is a SampleDecoder's business.
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
  // What makes a sample unusable whatever its fields hold, as "expected X, got Y"; empty: nothing.
  virtual std::string problem(size_t) const { return {}; }

  // A file whose tail is damaged ends with one more sample that stands for what is lost, so that it is counted.
  const std::string& damage() const { return damage_; }  // empty: the file is whole
  bool is_damage(size_t sample) const { return !damage_.empty() && sample + 1 == size(); }
  // "[file] expected a whole file, got X"
  virtual std::string damage_message() const;
  // Throws DataError for the sample that stands for damage and for one with a problem.
  void check_usable(size_t sample) const;

  // Bytes of a field; nullopt: the sample has none.
  virtual std::optional<uint64_t> field_size(size_t sample, SampleField field) const = 0;
  // The first max_bytes of a field that the sample has; valid while the shard lives and scratch is not changed. Throws
  // DataError when it cannot be read or is larger than cap. Safe to call from several threads.
  virtual std::span<const std::byte> view(size_t sample, SampleField field, uint64_t max_bytes, uint64_t cap,
                                          std::string& scratch) const = 0;
  // The sample's validation timestep, as `prepare coco` numbers them; nullopt: it has none. Throws DataError when it
  // cannot be read.
  virtual std::optional<int64_t> timestep(size_t sample) const = 0;

 protected:
  explicit SampleShard(const ShardFile& file) : path_(file.path), name_(file.name) {}
  [[noreturn]] void throw_above_cap(size_t sample, uint64_t size, uint64_t cap) const;

  std::filesystem::path path_;
  std::string name_;
  std::string damage_;
};

// Opens a file and reads where its samples lie. Throws DataError when it is not what its kind says, unless the list
// says so already: then it is a shard of which all is lost, one sample that stands for damage.
std::shared_ptr<const SampleShard> open_shard(const ShardFile& file);

// Looks at the beginning of a file: what is wrong with one that is not a shard, or damaged before its first sample, as
// "expected X, got Y"; empty: nothing.
std::string find_lost(const ShardFile& file);

}  // namespace millrace
