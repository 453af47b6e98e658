// Rows of a raw data set, as Hugging Face `datasets` shows them: WebDataset shards (load_dataset("webdataset")) or a
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
  // The encoded pictures, one for each of the source's picture columns; nullopt where there is none.
  std::vector<std::optional<std::span<const std::byte>>> pictures;

  // What the views above point into.
  std::deque<std::string> contents;
  std::deque<nlohmann::ordered_json> values;
  std::shared_ptr<const void> file;
};

// Safe to use from several threads.
class SampleSource {
 public:
  virtual ~SampleSource() = default;

  virtual const std::vector<ArrowColumnSpec>& columns() const = 0;
  // Which of the columns hold pictures.
  virtual const std::vector<int>& picture_columns() const = 0;
  // How many samples there are; at_least: may stop looking once so many are found.
  virtual int64_t count(int64_t at_least) = 0;
  // About how many there are in all, by the size of the files not yet looked into.
  virtual int64_t estimate() const = 0;
  // Throws DataError naming the sample for what `datasets` could not load either: text that is not UTF-8, JSON of
  // another type than in the first samples.
  virtual void read(int64_t index, RawSample& sample) = 0;
  // The sample's name and pictures alone.
  virtual void read_pictures(int64_t index, RawSample& sample) = 0;
  // Changes when files are added, removed, renamed or rewritten at another length.
  virtual uint64_t fingerprint() const = 0;
  // Looks at the beginning of every file, so that damage() has those that are not shards before their turn.
  virtual void look_ahead() {}
  // Files that end early or are no shards, and what is wrong with them; of those looked at so far.
  virtual std::vector<std::string> damage() const = 0;
};

// path: as list_shards() takes it. num_threads: for reading the shards' headers. Throws DataError when nothing is
// there.
std::unique_ptr<SampleSource> open_samples(const std::string& path, int num_threads);

// Throws DataError for files that end early, unless they are allowed: then their samples up to there are taken, with a
// warning. Indices of samples behind the damage are not those of the whole set.
void check_shard_damage(const SampleSource& source, bool is_allowed);

std::unique_ptr<SampleSource> open_webdataset_samples(std::vector<ShardFile> shards, int num_threads);
std::unique_ptr<SampleSource> open_arrow_samples(const std::vector<ShardFile>& files);

}  // namespace millrace
