#include "picture_sets/report.h"

#include "formats/quote.h"
#include "picture_sets/augmentation.h"
#include "picture_sets/picture_order.h"
#include "picture_sets/trained_caption.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

Json pair(const PictureSize& size) {
  return {size.width, size.height};
}

Json buckets_json(const PicturePart& part, int64_t batch_size) {
  Json buckets = Json::array();
  for (const Bucket& bucket : part.buckets) {
    const auto count = static_cast<int64_t>(bucket.pictures.size());
    buckets.push_back({{"resolution", pair(bucket.resolution)},
                       {"count", count},
                       {"batches", (count + batch_size - 1) / batch_size}});
  }
  return buckets;
}

Json image_json(const PictureSet& set, const Picture& picture, uint64_t number, const PictureReportOptions& options) {
  const SubsetOptions& subset = set.options.subsets[picture.subset];
  const Augmentation fixed = fixed_augmentation(picture, subset);
  const bool has_whole_paths = set.options.style == CaptionStyle::kMetadata;
  Json image = {{"path", as_utf8(has_whole_paths ? picture.file.path : picture.file.key)},
                {"subset", picture.subset},
                {"num_repeats", picture.num_repeats},
                {"is_reg", picture.is_reg},
                {"size", pair(picture.size)},
                {"bucket", pair(picture.choice.bucket)},
                {"resized", pair(fixed.resized)},
                {"crop", pair(fixed.offset)},
                {"crop_is_drawn", draws_crop(picture, subset)},
                {"caption", picture.file.caption}};
  if (picture.face) {
    const Face& face = *picture.face;
    image["face"] = {face.x, face.y, face.width, face.height};
  }
  if (set.options.style == CaptionStyle::kMasks) image["mask"] = as_utf8(picture.file.mask_path);
  if (options.num_captions > 0) {
    const int64_t batches = set.train.num_batches(set.options.batch_size);
    image["captions"] = Json::array();
    for (int64_t epoch = 0; epoch < options.num_captions; ++epoch) {
      PhiloxSource random(caption_stream(options.seed, static_cast<uint32_t>(epoch), picture_sample_id(number, 0)));
      image["captions"].push_back(trained_caption(
          picture.file.caption, subset, {epoch + 1, epoch * batches, options.num_captions * batches}, random));
    }
  }
  return image;
}

Json warnings_json(const Notices& notices) {
  Json warnings = Json::array();
  for (const Notice& notice : notices.all()) {
    Json places = Json::array();
    for (const std::string& place : notice.places) places.push_back(as_utf8(place));
    warnings.push_back({{"kind", notice.kind},
                        {"message", as_utf8(notice.message)},
                        {"refused_by_training", notice.is_fatal},
                        {"count", notice.places.size()},
                        {"places", std::move(places)}});
  }
  return warnings;
}

// first_number: of its pictures, over all data sets.
Json dataset_json(const PictureSet& set, uint64_t first_number, const PictureReportOptions& options) {
  Json json = options_json(set.options);
  const Json subsets = json["subsets"];
  json.erase("subsets");
  const int64_t batch_size = set.options.batch_size;
  json["num_train_images"] = set.num_train_images;
  json["num_reg_images"] = set.num_reg_images;
  json["samples_per_epoch"] = set.train.num_samples();
  json["batches_per_epoch"] = set.train.num_batches(batch_size);
  json["buckets"] = buckets_json(set.train, batch_size);
  json["mean_img_ar_error"] = set.options.enable_bucket ? Json(set.train.mean_aspect_error) : Json(nullptr);
  json["num_validation_images"] = set.validation.num_samples();
  json["validation_batches"] = set.validation.num_batches(batch_size);
  json["subsets"] = subsets;
  if (options.per_image || options.num_captions > 0) {
    json["tag_frequency"] = set.tag_counts;  // of each subset
    json["images"] = Json::array();
    for (uint64_t i = 0; i < set.train.pictures.size(); ++i) {
      json["images"].push_back(image_json(set, set.train.pictures[i], first_number + i, options));
    }
    json["validation_images"] = Json::array();
    for (const Picture& picture : set.validation.pictures) {
      json["validation_images"].push_back(image_json(set, picture, 0, {}));
    }
  }
  json["warnings"] = warnings_json(set.notices);
  return json;
}

}  // namespace

nlohmann::ordered_json picture_set_report(const std::string& path, const std::vector<PictureSet>& sets,
                                          const PictureReportOptions& options) {
  Json report = {{"kind", "picture_sets"}, {"path", as_utf8(path)}};
  int64_t train = 0, reg = 0, batches = 0;
  for (const PictureSet& set : sets) {
    train += set.num_train_images;
    reg += set.num_reg_images;
    batches += set.train.num_batches(set.options.batch_size);
  }
  report["num_train_images"] = train;
  report["num_reg_images"] = reg;
  report["batches_per_epoch"] = batches;
  report["datasets"] = Json::array();
  uint64_t first_number = 0;
  for (const PictureSet& set : sets) {
    report["datasets"].push_back(dataset_json(set, first_number, options));
    first_number += set.train.pictures.size();
  }
  return report;
}

}  // namespace millrace
