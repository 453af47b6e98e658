// The data sets of a file, or of a folder of folders, read for training.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "config/placed_value.h"
#include "picture_sets/picture_set.h"

namespace millrace {

struct OpenSettings {
  int64_t batch_size = 1;    // where the file does not set one
  int64_t resolution = 256;  // of a folder's pictures
  bool masked_loss = false;
  double prior_loss_weight = 1;  // of regularisation pictures
  int64_t seed = 0;              // of the validation split where the file has no validation_seed
  int num_threads = 1;
  double max_bad_fraction = 0;  // of the pictures that may be unreadable
  // Of the filters by which pictures are scaled, where the file does not set one; empty: bicubic.
  std::string resize_interpolation;
  double held_back = 0;        // part of the pictures, where the file has no validation_split: validation.split
  bool writes_info = false;    // metadata_cache.json of subsets with cache_info that have none
  bool is_validation = false;  // no picture is trained on: all are held back, where the file does not say which part
};

// path: a data set file (.toml or .json), or a folder whose sub-folders are named "10_words": ten repeats, "words" for
// pictures without a caption. A folder is trained on as if a file said: caption_extension = ".txt", enable_bucket =
// true, buckets of the area of resolution squared with sides from half to twice resolution, in steps of 64 pixels (16
// below a resolution of 512). Notices are logged as warnings.
//
// Throws ConfigError for options that are wrong or that training does not have, or where held_back leaves nothing on
// one side or stands beside a validation_split; DataError where there is nothing to train on or too much cannot be
// read.
std::vector<PictureSet> open_picture_sets(const std::filesystem::path& path, const OpenSettings& settings);

// Those options, behind what table has already.
void add_folder_options(PlacedValue& table, int64_t resolution);

// Of all data sets: what one batch holds, at most.
int64_t largest_batch(const std::vector<PictureSet>& sets);

}  // namespace millrace
