// An Arrow file of a Hugging Face `datasets` folder: a row is a sample.
//
// Columns, by name: a picture (png, else jpg, jpeg, webp, image), a caption (txt, else caption, text), what an encoded
// sample has (t5_encodings, clip_encodings, mean, logvar), __key__ and timestep. Others are not read.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "data/sample_shard.h"
#include "formats/arrow_file.h"

namespace millrace {

class HfShard : public SampleShard {
 public:
  explicit HfShard(const ShardFile& file);

  size_t size() const override;
  int64_t num_rows() const { return file_.num_rows(); }
  std::string key(size_t sample) const override;
  // Bad: a key that is unreadable, empty or not UTF-8; a picture given by path instead of by content.
  std::string problem(size_t sample) const override;
  // Derived from the key, which is unique in the data set, so that a sample keeps its noise when it is pre-encoded.
  // Without keys, derived from the file's name and the row.
  uint64_t sample_id(size_t sample) const override;
  std::optional<uint64_t> field_size(size_t sample, SampleField field) const override;
  std::span<const std::byte> view(size_t sample, SampleField field, uint64_t max_bytes, uint64_t cap,
                                  std::string& scratch) const override;
  std::optional<int64_t> timestep(size_t sample) const override;

 private:
  std::optional<std::span<const std::byte>> key_cell(size_t sample) const;
  std::optional<std::span<const std::byte>> cell(size_t sample, SampleField field) const;

  ArrowFile file_;
  std::array<std::vector<int>, kNumSampleFields> columns_;  // the first one that is not null in a row is used
  int key_column_, timestep_column_;
};

}  // namespace millrace
