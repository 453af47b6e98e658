#include "tasks/flux/flux_pictures_plan.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/log.h"
#include "base/printable.h"
#include "diffusion/picture_data.h"
#include "picture_sets/open_picture_sets.h"
#include "picture_sets/trained_options.h"

namespace millrace {
namespace {

constexpr int64_t kNotGiven = 1 << 24;  // the batch size of sets whose file says none

// One size of pictures of a data set.
struct PlannedBucket {
  PictureSize resolution;
  int64_t batch_size = 0;  // 0: the file says none
  std::string place;
};

struct KnownPictures {
  std::vector<PlannedBucket> buckets;
  double preserved = 0;  // PicturesPlan::preserved
};

KnownPictures read_pictures(const FluxRunConfig& config) {
  OpenSettings settings;
  settings.batch_size = kNotGiven;
  settings.resolution = config.training_pictures.img_size;
  settings.masked_loss = config.training_pictures.masked_loss;
  settings.seed = config.training.seed.value_or(0);
  settings.num_threads = decoding_threads(config.training.num_workers);
  settings.max_bad_fraction = 1;  // training counts them
  settings.held_back = config.validation_pictures.split;
  KnownPictures pictures;
  double samples = 0, preserved = 0;
  for (const PictureSet& set : open_picture_sets(config.training_pictures.dataset_path, settings)) {
    const int64_t given = set.options.batch_size == kNotGiven ? 0 : set.options.batch_size;
    for (const Bucket& bucket : set.train.buckets) {
      pictures.buckets.push_back({bucket.resolution, given, set.options.place});
      samples += static_cast<double>(bucket.pictures.size());
      preserved +=
          static_cast<double>(std::count_if(bucket.pictures.begin(), bucket.pictures.end(), [&](uint32_t number) {
            return preserves_output(set.options.subsets[set.train.pictures[number].subset]);
          }));
    }
  }
  pictures.preserved = samples > 0 ? preserved / samples : 0;
  return pictures;
}

// A plan is made of many, for options that it tries: the pictures are looked at, and warned of, once.
const KnownPictures& known_pictures(const FluxRunConfig& config) {
  thread_local std::map<std::string, KnownPictures> known;
  const TrainingPicturesConfig& pictures = config.training_pictures;
  const std::string key = str(pictures.dataset_path, "\n", pictures.img_size, " ", pictures.masked_loss, " ",
                              config.validation_pictures.split);
  auto found = known.find(key);
  if (found == known.end()) found = known.emplace(key, read_pictures(config)).first;
  return found->second;
}

}  // namespace

PicturesPlan plan_pictures(const FluxRunConfig& config, std::vector<std::string>& notes) {
  const int64_t side = config.training_pictures.img_size;
  PicturesPlan plan{.width = side, .height = side, .batch_size = 0, .place = "training.img_size", .preserved = 0};
  const std::string& path = config.training_pictures.dataset_path;
  if (!config.trains_on_pictures()) return plan;
  std::error_code error;
  if (path.empty() || !std::filesystem::exists(path, error)) {
    notes.push_back(str(path.empty() ? std::string("training.dataset_path") : printable(path),
                        " is not on this machine: its pictures are taken to be of training.img_size, in batches of "
                        "training.local_batch_size"));
    return plan;
  }
  const KnownPictures& pictures = known_pictures(config);
  int64_t most = 0;
  for (const PlannedBucket& bucket : pictures.buckets) {
    const int64_t batch = bucket.batch_size > 0 ? bucket.batch_size : config.training.local_batch_size;
    const int64_t pixels = bucket.resolution.area() * batch;
    if (pixels <= most) continue;
    most = pixels;
    plan = {bucket.resolution.width, bucket.resolution.height, bucket.batch_size, bucket.place, pictures.preserved};
  }
  notes.push_back(
      str("planned for the largest batch of ", printable(path), ": pictures of ", plan.width, " x ", plan.height));
  if (plan.preserved > 0) {
    notes.push_back(str("the frozen model runs once more for ", format_double("%.0f", 100 * plan.preserved),
                        " % of the samples (diff_output_preservation)"));
  }
  return plan;
}

}  // namespace millrace
