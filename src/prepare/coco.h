// The pictures and captions that FLUX is validated on, as WebDataset shards. The reference's coco_to_webdataset.py.
#pragma once

#include <cstdint>
#include <filesystem>

#include "prepare/bad_sample_list.h"
#include "prepare/coco_table.h"
#include "prepare/unit_run.h"

namespace millrace {

struct CocoOptions {
  CocoTableOptions table;
  std::filesystem::path images;  // the folder of the JPEGs
  std::filesystem::path output;  // shard_00000.tar and so on
  std::filesystem::path tsv;
  int width = 256;  // aspect ratios are not preserved
  int height = 256;
  int64_t samples_per_shard = 1000;
  double max_bad_fraction = 0;
  UnitShare share;
};

struct CocoSummary {
  int64_t samples = 0;
  int64_t shards = 0;
  BadSampleList bad = BadSampleList::array();
  bool was_complete = false;  // by an earlier run with the same options
};

// A sample is %012d.png (RGB), .txt and .json (id, caption, filename, timestep), named after the picture's id; with
// duplicate pictures the annotation's id is added. Calls progress after every shard. On ranks other than the first the
// summary is empty.
CocoSummary write_coco_shards(const CocoOptions& options, const PrepareProgress& progress = {});

}  // namespace millrace
