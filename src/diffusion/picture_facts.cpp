#include "diffusion/picture_facts.h"

#include <algorithm>
#include <filesystem>

#include "formats/python_json.h"
#include "formats/quote.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

// sd-scripts names folders by their last part.
std::string name_of(const SubsetOptions& subset) {
  const std::string& place = subset.image_dir.empty() ? subset.metadata_file : subset.image_dir;
  std::filesystem::path path = std::filesystem::path(place).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  return as_utf8(path.filename().string());
}

Json text_or_null(const std::optional<std::string>& text) {
  return text ? Json(as_utf8(*text)) : Json(nullptr);
}

// sd-scripts has no name for what it does by itself.
Json interpolation_json(const std::optional<std::string>& name) {
  return name && *name != kAreaOrLanczos ? Json(as_utf8(*name)) : Json(nullptr);
}

Json bucket_info(const PicturePart& part) {
  Json buckets = Json::object();
  for (size_t i = 0; i < part.buckets.size(); ++i) {
    const Bucket& bucket = part.buckets[i];
    buckets[std::to_string(i)] = {{"resolution", {bucket.resolution.width, bucket.resolution.height}},
                                  {"count", bucket.pictures.size()}};
  }
  return {{"buckets", std::move(buckets)}, {"mean_img_ar_error", part.mean_aspect_error}};
}

Json subset_json(const PictureSet& set, size_t number) {
  const SubsetOptions& subset = set.options.subsets[number];
  const auto count = std::count_if(set.train.pictures.begin(), set.train.pictures.end(),
                                   [&](const Picture& picture) { return picture.subset == number; });
  Json json = {{"img_count", count},
               {"num_repeats", subset.num_repeats},
               {"color_aug", subset.color_aug},
               {"flip_aug", subset.flip_aug},
               {"random_crop", subset.random_crop},
               {"shuffle_caption", subset.shuffle_caption},
               {"keep_tokens", subset.keep_tokens},
               {"keep_tokens_separator", as_utf8(subset.keep_tokens_separator)},
               {"secondary_separator", text_or_null(subset.secondary_separator)},
               {"enable_wildcard", subset.enable_wildcard},
               {"caption_prefix", text_or_null(subset.caption_prefix)},
               {"caption_suffix", text_or_null(subset.caption_suffix)},
               {"resize_interpolation", interpolation_json(subset.resize_interpolation)},
               {"image_dir", name_of(subset)}};
  if (set.options.style == CaptionStyle::kMetadata) {
    json["metadata_file"] = as_utf8(std::filesystem::path(subset.metadata_file).filename().string());
  } else {
    json["class_tokens"] = text_or_null(subset.class_tokens);
    json["is_reg"] = subset.is_reg;
  }
  return json;
}

Json tags_json(const PictureSet& set) {
  Json tags = Json::object();
  for (size_t i = 0; i < set.tag_counts.size(); ++i) {
    const bool is_reg = set.options.subsets[i].is_reg;  // not counted by sd-scripts
    if (!is_reg && !set.tag_counts[i].empty()) tags[name_of(set.options.subsets[i])] = set.tag_counts[i];
  }
  return tags;
}

Json dataset_json(const PictureSet& set) {
  const DatasetOptions& options = set.options;
  Json json = {{"is_dreambooth", options.style != CaptionStyle::kMetadata},
               {"batch_size_per_device", options.batch_size},
               {"num_train_images", set.num_train_images},
               {"num_reg_images", set.num_reg_images},
               {"resolution", options.resolution ? Json(*options.resolution) : Json(nullptr)},
               {"enable_bucket", options.enable_bucket},
               {"min_bucket_reso", options.enable_bucket ? Json(options.min_bucket_reso) : Json(nullptr)},
               {"max_bucket_reso", options.enable_bucket ? Json(options.max_bucket_reso) : Json(nullptr)},
               {"tag_frequency", tags_json(set)},
               {"bucket_info", options.enable_bucket ? bucket_info(set.train) : Json(nullptr)},
               {"resize_interpolation", interpolation_json(options.resize_interpolation)},
               {"subsets", Json::array()}};
  for (size_t i = 0; i < options.subsets.size(); ++i) json["subsets"].push_back(subset_json(set, i));
  return json;
}

int64_t divided_up(int64_t number, int64_t by) {
  return (number + by - 1) / by;
}

}  // namespace

TrainingFacts picture_facts(const PictureData& data, int64_t batches_per_step, int64_t max_steps) {
  int64_t train = 0, reg = 0, validation = 0, batches = 0;
  Json datasets = Json::array(), tags = Json::object(), folders = Json::object();
  TrainingFacts facts;
  for (const PictureSet& set : data.sets) {
    train += set.num_train_images;
    reg += set.num_reg_images;
    validation += set.validation.num_samples();
    batches += set.train.num_batches(set.options.batch_size);
    datasets.push_back(dataset_json(set));
    tags.update(tags_json(set));
    for (const auto& subset : datasets.back()["subsets"]) {
      folders[subset["image_dir"].get<std::string>()] = {{"n_repeats", subset["num_repeats"]},
                                                         {"img_count", subset["img_count"]}};
    }
    if (set.options.validation_split > 0) facts["validation_split"] = set.options.validation_split;
  }
  facts["num_train_images"] = train;
  facts["num_reg_images"] = reg;
  facts["num_validation_images"] = validation;
  facts["num_batches_per_epoch"] = batches;
  const int64_t steps_per_epoch = divided_up(batches, batches_per_step);
  facts["num_epochs"] = steps_per_epoch > 0 ? divided_up(max_steps, steps_per_epoch) : 0;
  facts["datasets"] = python_json(datasets);
  facts["tag_frequency"] = python_json(tags);
  facts["dataset_dirs"] = python_json(folders);
  return facts;
}

}  // namespace millrace
