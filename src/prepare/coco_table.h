// The captions of COCO that the FLUX benchmark validates on: val2014_30k.tsv of the MLPerf reference.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct CocoRow {
  int64_t image_id;
  int64_t id;  // of the annotation
  std::string caption;
  int timestep;      // 0 to 7
  std::string file;  // the picture's name, "COCO_val2014_000000000042.jpg"
};

struct CocoTable {
  std::vector<CocoRow> rows;
  std::vector<std::string> columns;  // image_id, id and caption in the file's own order, then timestep
};

struct CocoTableOptions {
  std::filesystem::path captions_file;  // captions_val2014.json
  int64_t num_samples = 29696;
  uint32_t seed = 2023;
  bool allow_duplicate_images = false;
};

// The annotations in the order of pandas' sample(frac=1, random_state=seed), the first for each picture, the first
// num_samples of these, sorted by id; the timestep is the row's number modulo 8. Newlines are removed from captions,
// and white space around them, as by Python's strip(). Throws DataError for other JSON, or if there are no captions.
CocoTable choose_coco_captions(const CocoTableOptions& options);

// As pandas' to_csv(sep="\t", index=False) writes it.
std::string coco_tsv(const CocoTable& table);

// Without newlines, and without the white space around it that Python's str.strip() removes.
std::string tidy_caption(std::string_view caption);

}  // namespace millrace
