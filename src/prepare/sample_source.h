// Rows of a raw data set, as Hugging Face `datasets` presents them: WebDataset shards (load_dataset("webdataset")) or a
// folder of Arrow files (load_from_disk).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/shard_list.h"
#include "formats/arrow_writer.h"

namespace millrace {

struct RawSample {
  std::string name;              // for messages: "cc12m-train-0003.tar: 000030012"
  std::vector<ArrowCell> cells;  // one for each of the source's columns
  // The encoded pictures, one for each of the source's picture columns; nullopt if missing.
  std::vector<std::optional<std::span<const std::byte>>> pictures;

  // Owns the memory of the views above.
  std::deque<std::string> contents;
  std::deque<nlohmann::ordered_json> values;
  std::shared_ptr<const void> file;
};

// Thread-safe.
class SampleSource {
 public:
  virtual ~SampleSource() = default;

  virtual const std::vector<ArrowColumnSpec>& columns() const = 0;
  // Which of the columns hold pictures.
  virtual const std::vector<int>& picture_columns() const = 0;
  // The number of samples; at_least: may stop counting once this many are found.
  virtual int64_t count(int64_t at_least) = 0;
  // An estimate of the total, based on the size of the files not yet read.
  virtual int64_t estimate() const = 0;
  // Throws DataError naming the sample if `datasets` could not load it either: text that is not UTF-8, JSON of another
  // type than in the first samples.
  virtual void read(int64_t index, RawSample& sample) = 0;
  // Only the sample's name and pictures.
  virtual void read_pictures(int64_t index, RawSample& sample) = 0;
  // Changes when files are added, removed, renamed or rewritten with another length.
  virtual uint64_t fingerprint() const = 0;
  // Inspects the beginning of every file, so that damage() already lists those that are not shards.
  virtual void look_ahead() {}
  // Truncated files and files that are not shards, among those read so far, and their problems.
  virtual std::vector<std::string> damage() const = 0;
};

// path: as for list_shards(). num_threads: for reading the shards' headers. Throws DataError when nothing is
// found.
std::unique_ptr<SampleSource> open_samples(const std::string& path, int num_threads);

// Throws DataError for truncated files unless they are allowed: then their intact samples are used, with a
// warning. Indices of samples after the damage differ from those of the whole set.
void check_shard_damage(const SampleSource& source, bool is_allowed);

std::unique_ptr<SampleSource> open_webdataset_samples(std::vector<ShardFile> shards, int num_threads);
std::unique_ptr<SampleSource> open_arrow_samples(const std::vector<ShardFile>& files);

}  // namespace millrace
