#include "diffusion/picture_facts.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "formats/python_json.h"
#include "formats/quote.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

std::string last_part(const std::string& place) {
  std::filesystem::path path = std::filesystem::path(place).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  return as_utf8(path.filename().string());
}

bool has_metadata(const PictureSet& set) {
  return set.options.style == CaptionStyle::kMetadata;
}

// sd-scripts names subsets by the last part of their folder or, where they have one, of their metadata file.
std::string name_of(const PictureSet& set, size_t number) {
  const SubsetOptions& subset = set.options.subsets[number];
  return last_part(has_metadata(set) ? subset.metadata_file : subset.image_dir);
}

// Its pictures; of regularisation pictures also those that no epoch reaches.
int64_t num_pictures(const PictureSet& set, size_t number) {
  if (set.options.subsets[number].is_reg) return set.num_files[number];
  return std::count_if(set.train.pictures.begin(), set.train.pictures.end(),
                       [&](const Picture& picture) { return picture.subset == number; });
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
  Json json = {{"img_count", num_pictures(set, number)},
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
               {"resize_interpolation", interpolation_json(subset.resize_interpolation)}};
  if (!subset.image_dir.empty()) json["image_dir"] = last_part(subset.image_dir);
  if (has_metadata(set)) {
    json["metadata_file"] = name_of(set, number);
  } else {
    json["class_tokens"] = text_or_null(subset.class_tokens);
    json["is_reg"] = subset.is_reg;
  }
  return json;
}

// Subsets of one name are counted together; a folder without pictures is there with no tags.
Json tags_json(const PictureSet& set) {
  std::map<std::string, std::map<std::string, int64_t>> tags;
  for (size_t i = 0; i < set.tag_counts.size(); ++i) {
    const bool is_looked_at = has_metadata(set) ? num_pictures(set, i) > 0 : set.options.subsets[i].num_repeats > 0;
    if (!is_looked_at) continue;
    auto& counts = tags[name_of(set, i)];
    for (const auto& [tag, count] : set.tag_counts[i]) counts[tag] += count;
  }
  return tags;
}

// "cat", and "cat (2)" where another subset has that name.
std::string free_name(const Json& taken, const std::string& name) {
  std::string free = name;
  for (int number = 2; taken.contains(free); ++number) free = name + " (" + std::to_string(number) + ")";
  return free;
}

Json dataset_json(const PictureSet& set) {
  const DatasetOptions& options = set.options;
  BucketRules rules = options.bucket_rules();
  adjust_bucket_limits(rules, options.place);  // to whole steps
  Json json = {{"is_dreambooth", !has_metadata(set)},
               {"batch_size_per_device", options.batch_size},
               {"num_train_images", set.num_train_images},
               {"num_reg_images", set.num_reg_images},
               {"resolution", options.resolution ? Json(*options.resolution) : Json(nullptr)},
               {"enable_bucket", options.enable_bucket},
               {"min_bucket_reso", options.enable_bucket ? Json(rules.min_bucket_reso) : Json(nullptr)},
               {"max_bucket_reso", options.enable_bucket ? Json(rules.max_bucket_reso) : Json(nullptr)},
               {"tag_frequency", tags_json(set)},
               {"bucket_info", options.enable_bucket ? bucket_info(set.train) : Json(nullptr)},
               {"resize_interpolation", interpolation_json(options.resize_interpolation)},
               {"subsets", Json::array()}};
  for (size_t i = 0; i < options.subsets.size(); ++i) {
    if (num_pictures(set, i) > 0) json["subsets"].push_back(subset_json(set, i));
  }
  return json;
}

// Without a data set file there is one data set, of which sd-scripts says this in the place of ss_datasets.
void add_folder_facts(const PictureSet& set, TrainingFacts& facts) {
  Json folders = Json::object(), reg_folders = Json::object();
  for (size_t i = 0; i < set.options.subsets.size(); ++i) {
    const int64_t count = num_pictures(set, i);
    if (count == 0) continue;
    const SubsetOptions& subset = set.options.subsets[i];
    (subset.is_reg ? reg_folders : folders)[name_of(set, i)] = {{"n_repeats", subset.num_repeats},
                                                                {"img_count", count}};
  }
  facts["dataset_dirs"] = python_json(folders);
  facts["reg_dataset_dirs"] = python_json(reg_folders);
  facts["bucket_info"] = python_json(set.options.enable_bucket ? bucket_info(set.train) : Json(nullptr));
  facts.erase("datasets");
}

int64_t divided_up(int64_t number, int64_t by) {
  return (number + by - 1) / by;
}

}  // namespace

TrainingFacts picture_facts(const PictureData& data, const PictureFactsOptions& options) {
  int64_t train = 0, reg = 0, validation = 0, batches = 0;
  Json datasets = Json::array(), tags = Json::object(), folders = Json::object();
  TrainingFacts facts;
  for (const PictureSet& set : data.sets) {
    train += set.num_train_images;
    reg += set.num_reg_images;
    validation += set.validation.num_samples();
    batches += set.train.num_batches(set.options.batch_size);
    datasets.push_back(dataset_json(set));
    // A folder that several data sets have is counted as the first has it.
    const Json of_set = tags_json(set);
    for (const auto& [name, counts] : of_set.items()) {
      if (!tags.contains(name)) tags[name] = counts;
    }
    for (size_t i = 0; i < set.options.subsets.size(); ++i) {
      const SubsetOptions& subset = set.options.subsets[i];
      const int64_t count = num_pictures(set, i);
      if (count == 0 || subset.is_reg) continue;
      folders[free_name(folders, name_of(set, i))] = {{"n_repeats", subset.num_repeats}, {"img_count", count}};
    }
    if (set.options.validation_split > 0) facts["validation_split"] = set.options.validation_split;
  }
  facts["num_train_images"] = train;
  facts["num_reg_images"] = reg;
  facts["num_validation_images"] = validation;
  facts["num_batches_per_epoch"] = batches;
  const int64_t steps_per_epoch = divided_up(batches, options.batches_per_step);
  facts["num_epochs"] = steps_per_epoch > 0 ? divided_up(options.max_steps, steps_per_epoch) : 0;
  facts["datasets"] = python_json(datasets);
  facts["tag_frequency"] = python_json(tags);
  facts["dataset_dirs"] = python_json(folders);
  if (options.has_no_file && data.sets.size() == 1) add_folder_facts(data.sets[0], facts);
  return facts;
}

}  // namespace millrace
