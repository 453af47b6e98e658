// A data set of pictures as it is trained on: which pictures, how often, in which buckets, in which batches.
//
// Counts are those of sd-scripts (library/train_util.py, DreamBoothDataset and BaseDataset.make_buckets, commit
// 48d368f): repeats of regularisation pictures are raised until they are as many as the others, and each bucket ends
// with a batch of what is left.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "images/aspect_buckets.h"
#include "picture_sets/face_crop.h"
#include "picture_sets/held_back.h"
#include "picture_sets/notices.h"
#include "picture_sets/options.h"
#include "picture_sets/subset_files.h"

namespace millrace {

struct Picture {
  PictureFile file;
  size_t subset = 0;  // its options: of DatasetOptions::subsets
  bool is_reg = false;
  int64_t num_repeats = 1;  // an epoch
  PictureSize size;         // upright
  BucketChoice choice;
  std::optional<Face> face;  // that it is cropped around, with face_crop_aug_range and without buckets
};

struct Bucket {
  PictureSize resolution;
  std::vector<uint32_t> pictures;  // numbers of pictures, each as often as it is repeated
};

// Pictures with their buckets, sorted by resolution.
struct PicturePart {
  std::vector<Picture> pictures;
  std::vector<Bucket> buckets;
  double mean_aspect_error = 0;  // over pictures, without repeats

  int64_t num_samples() const;  // an epoch, with repeats
  int64_t num_batches(int64_t batch_size) const;
};

struct PictureSet {
  DatasetOptions options;
  PicturePart train, validation;
  int64_t num_train_images = 0;                            // with repeats, without regularisation pictures
  int64_t num_reg_images = 0;                              // with repeats as the file has them
  std::vector<std::map<std::string, int64_t>> tag_counts;  // of each subset, as trained
  std::vector<int64_t> num_files;                          // pictures of each subset before the validation split
  Notices notices;
};

struct ReadSettings {
  std::filesystem::path root;  // relative paths that the working directory has not are below it
  int64_t seed = 0;            // of the validation split where the file has no validation_seed
  int num_threads = 1;
};

// Looks at every picture's header. A picture that cannot be read, or that no bucket fits, is left out and noted;
// nothing in the data set is an error here but a metadata file that is broken (DataError).
PictureSet read_picture_set(const DatasetOptions& options, const ReadSettings& settings);

// The same in two steps, between which it can be decided what is held back from training; that has no say in a data set
// with a validation_split of its own.
struct ListedPictureSet {
  PictureSet set;                               // without pictures
  std::vector<std::vector<PictureFile>> files;  // of each subset, those that can be read
};
ListedPictureSet list_picture_set(const DatasetOptions& options, const ReadSettings& settings);
PictureSet fill_picture_set(ListedPictureSet listed, const ReadSettings& settings, const HeldBack& held_back);

// Throws DataError where there is nothing to train (or to validate) on or a notice is fatal.
void check_trainable(const std::vector<PictureSet>& sets, bool is_validation = false);

// sd-scripts' split: shuffled by random.seed(seed), the first part is trained on.
struct ValidationSplit {
  std::vector<size_t> train, validation;  // numbers of pictures
};
ValidationSplit split_for_validation(size_t num_pictures, double part, int64_t seed);

// Repeats of every regularisation picture, given those of the file, so that all together are num_train_images: the list
// is gone through again and again; a picture that is never reached has 0.
std::vector<int64_t> balanced_repeats(const std::vector<int64_t>& num_repeats, int64_t num_train_images);

}  // namespace millrace
