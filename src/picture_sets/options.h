// The options of a data set of pictures: sd-scripts' names, types, defaults and order (library/config_util.py, commit
// 48d368f). docs/picture_sets.md has them for readers.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "images/aspect_buckets.h"

namespace millrace {

// A resize_interpolation that sd-scripts has no name for, being what it does without one: area for pictures that grow
// on no side, else lanczos.
inline constexpr const char* kAreaOrLanczos = "area_or_lanczos";

// How captions and masks of a data set are found.
enum class CaptionStyle {
  kCaptionFiles,  // a text file beside each picture ("dreambooth")
  kMetadata,      // one JSON file for all of them ("finetuning")
  kMasks,         // caption files, and a folder of masks ("controlnet_style")
};
const char* caption_style_name(CaptionStyle style);  // sd-scripts' word for it

struct SubsetOptions {
  std::string image_dir;              // empty: none, where metadata has whole paths
  std::string metadata_file;          // of kMetadata
  std::string conditioning_data_dir;  // of kMasks: a mask for each picture, of the same name
  int64_t num_repeats = 1;
  bool shuffle_caption = false;
  std::string caption_separator = ",";
  int64_t keep_tokens = 0;
  std::string keep_tokens_separator;
  std::optional<std::string> secondary_separator;
  bool enable_wildcard = false;
  bool color_aug = false;
  bool flip_aug = false;
  std::optional<std::array<double, 2>> face_crop_aug_range;
  bool random_crop = false;
  std::optional<std::string> caption_prefix, caption_suffix;
  double caption_dropout_rate = 0;
  int64_t caption_dropout_every_n_epochs = 0;
  double caption_tag_dropout_rate = 0;
  int64_t token_warmup_min = 1;
  double token_warmup_step = 0;  // below 1: a part of all steps
  nlohmann::ordered_json custom_attributes;
  int64_t validation_seed = 0;
  double validation_split = 0;
  std::optional<std::string> resize_interpolation;
  bool is_reg = false;  // regularisation pictures
  std::optional<std::string> class_tokens;
  std::string caption_extension = ".caption";
  bool cache_info = false;
  bool alpha_mask = false;
};

struct DatasetOptions {
  CaptionStyle style = CaptionStyle::kCaptionFiles;
  std::optional<std::array<int64_t, 2>> resolution;  // width, height
  double network_multiplier = 1;
  bool debug_dataset = false;
  std::optional<int64_t> validation_seed;
  double validation_split = 0;
  std::optional<std::string> resize_interpolation;
  int64_t batch_size = 1;
  bool enable_bucket = false;
  int64_t min_bucket_reso = 256;
  int64_t max_bucket_reso = 1024;
  int64_t bucket_reso_steps = 64;
  bool bucket_no_upscale = false;
  double prior_loss_weight = 1;  // of regularisation pictures; kCaptionFiles only
  std::vector<SubsetOptions> subsets;
  std::string place;  // "[dataset.toml:3] datasets[0]" without its brackets, for messages

  BucketRules bucket_rules() const;  // resolution must be there
};

// The options as in the reports of `millrace inspect`, "subsets" last.
nlohmann::ordered_json options_json(const DatasetOptions& options);

}  // namespace millrace
