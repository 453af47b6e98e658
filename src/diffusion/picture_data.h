// Data sets of pictures in folders, as a FLUX run opens them.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "comm/mesh.h"
#include "picture_sets/open_picture_sets.h"
#include "picture_sets/set_identity.h"

namespace millrace {

struct PictureData {
  std::string place;  // the data set file or folder
  std::vector<PictureSet> sets;
  std::vector<SetContents> contents;
  nlohmann::json identity;

  int64_t num_validation_pictures() const;
  bool changes_pictures() const;   // random_crop and others, which leave nothing to cache
  bool has_many_captions() const;  // with shuffled or dropped tags, likewise
  bool has_masks() const;
};

// Reads them on every rank. Throws DataError where ranks find different pictures.
PictureData open_picture_data(const std::string& place, const OpenSettings& settings, Group& ranks,
                              torch::Device device);

// Threads that decode pictures: training.num_workers, or where that is 0 one per CPU core, at most 8.
int decoding_threads(int64_t num_workers);

// "set.toml, 120 pictures of 5 sizes from 512 x 1024 to 1024 x 512, 1,200 samples in 300 batches an epoch"
std::string describe_pictures(const PictureData& data);

}  // namespace millrace
