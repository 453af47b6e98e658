#include "picture_sets/picture_set.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/printable.h"
#include "base/python_random.h"
#include "base/text.h"
#include "picture_sets/caption_files.h"
#include "picture_sets/picture_headers.h"

namespace millrace {
namespace {

constexpr int64_t kMaxSamples = 100'000'000;  // 400 MB of numbers

void check_sample_count(int64_t samples, const std::string& place) {
  if (samples <= kMaxSamples) return;
  throw DataError("[" + place + "] expected at most " + std::to_string(kMaxSamples) + " samples an epoch, got " +
                  std::to_string(samples) + " or more (try a smaller num_repeats)");
}

// Pictures in the order of registration. One that is named again takes the place of the first, as in sd-scripts'
// dictionary.
class Registry {
 public:
  void add(Picture picture) {
    const auto [known, is_new] = numbers_.emplace(picture.file.key, pictures_.size());
    if (is_new) {
      pictures_.push_back(std::move(picture));
    } else {
      pictures_[known->second] = std::move(picture);
    }
  }
  std::vector<Picture> take() { return std::move(pictures_); }

 private:
  std::vector<Picture> pictures_;
  std::unordered_map<std::string, size_t> numbers_;
};

bool is_much_enlarged(const Picture& picture) {
  return picture.choice.resized.area() > 16 * picture.size.area();
}

// The place of the face in the picture's name, where the options ask for it.
std::optional<Face> face_of(const DatasetOptions& options, const SubsetOptions& subset, const PictureFile& file,
                            Notices& notices) {
  if (!subset.face_crop_aug_range || options.enable_bucket) return std::nullopt;
  const std::optional<Face> face = face_in_name(file.path);
  if (!face) {
    notices.add("no_face",
                "expected a name that ends with the place of a face in pixels, _x_y_width_height, with "
                "face_crop_aug_range, got another: cropped as if there were no face",
                file.key);
  }
  return face;
}

// Chooses the bucket of every picture; those that fit none are noted and left out.
void fill_buckets(const DatasetOptions& options, PicturePart& part, Notices& notices) {
  BucketRules rules = options.bucket_rules();
  adjust_bucket_limits(rules, options.place);
  const BucketSelector selector(rules);
  std::vector<Picture> placed;
  double error_sum = 0;
  for (Picture& picture : part.pictures) {
    const std::optional<BucketChoice> choice = selector.select(picture.size);
    if (!choice) {
      notices.add("no_bucket",
                  "expected a picture of at least bucket_reso_steps, " + std::to_string(rules.bucket_reso_steps) +
                      ", a side, got " + size_text(picture.size) + ": no bucket fits, left out",
                  picture.file.key);
      continue;
    }
    if (std::max(choice->resized.width, choice->resized.height) > std::numeric_limits<int32_t>::max()) {
      notices.add("no_bucket",
                  "expected a picture of a shape nearer to its bucket's, got " + size_text(picture.size) + ", " +
                      size_text(choice->resized) + " once it covers " + size_text(choice->bucket) + ": left out",
                  picture.file.key);
      continue;
    }
    picture.choice = *choice;
    error_sum += std::abs(choice->aspect_error);
    if (is_much_enlarged(picture)) {
      notices.add("much_enlarged",
                  "expected a picture near the size of its bucket, got one that is enlarged more than four times",
                  picture.file.key);
    } else if (choice->resized.width > picture.size.width || choice->resized.height > picture.size.height) {
      notices.add("enlarged",
                  "expected pictures of at least the size of their buckets, got smaller ones: enlarged (try "
                  "bucket_no_upscale = true)",
                  picture.file.key);
    }
    placed.push_back(std::move(picture));
  }
  part.pictures = std::move(placed);
  part.mean_aspect_error = part.pictures.empty() ? 0 : error_sum / static_cast<double>(part.pictures.size());
  int64_t samples = 0;
  for (const Picture& picture : part.pictures) samples += picture.num_repeats;
  check_sample_count(samples, options.place);
  std::map<PictureSize, std::vector<uint32_t>> buckets;
  for (uint32_t number = 0; number < part.pictures.size(); ++number) {
    const Picture& picture = part.pictures[number];
    std::vector<uint32_t>& bucket = buckets[picture.choice.bucket];
    bucket.insert(bucket.end(), static_cast<size_t>(picture.num_repeats), number);
  }
  for (auto& [resolution, pictures] : buckets) {
    if (!pictures.empty()) part.buckets.push_back({resolution, std::move(pictures)});
  }
}

bool has_split(const DatasetOptions& options) {
  return options.validation_split > 0 && options.validation_split <= 1;
}

// Regularisation pictures are all trained on. Without repeats none are, and what the file's split holds back is
// validated on all the same, as in sd-scripts.
ValidationSplit split_subset(const DatasetOptions& options, const SubsetOptions& subset,
                             const std::vector<PictureFile>& files, const ReadSettings& settings,
                             const HeldBack& held_back) {
  if (has_split(options) && !subset.is_reg) {
    ValidationSplit parts =
        split_for_validation(files.size(), options.validation_split, options.validation_seed.value_or(settings.seed));
    if (subset.num_repeats < 1) parts.train.clear();
    return parts;
  }
  ValidationSplit parts;
  for (size_t i = 0; i < files.size(); ++i) {
    const bool is_held_back = !subset.is_reg && (held_back.all || held_back.keys.contains(held_back_key(files[i])));
    (is_held_back ? parts.validation : parts.train).push_back(i);
  }
  return parts;
}

}  // namespace

int64_t PicturePart::num_samples() const {
  int64_t samples = 0;
  for (const Bucket& bucket : buckets) samples += static_cast<int64_t>(bucket.pictures.size());
  return samples;
}

int64_t PicturePart::num_batches(int64_t batch_size) const {
  int64_t batches = 0;
  for (const Bucket& bucket : buckets) {
    batches += (static_cast<int64_t>(bucket.pictures.size()) + batch_size - 1) / batch_size;
  }
  return batches;
}

ValidationSplit split_for_validation(size_t num_pictures, double part, int64_t seed) {
  std::vector<size_t> order(num_pictures);
  std::iota(order.begin(), order.end(), size_t{0});
  PythonRandom(seed).shuffle(order);
  const double count = static_cast<double>(num_pictures);
  const auto trained = static_cast<ptrdiff_t>(std::clamp(std::ceil(count * (1 - part)), 0.0, count));
  // Python's round(): halves to even, as nearbyint rounds by default.
  const auto held_back = static_cast<ptrdiff_t>(std::clamp(std::nearbyint(count * part), 0.0, count));
  return {{order.begin(), order.begin() + trained}, {order.end() - held_back, order.end()}};
}

std::vector<int64_t> balanced_repeats(const std::vector<int64_t>& num_repeats, int64_t num_train_images) {
  std::vector<int64_t> repeats(num_repeats.size(), 0);
  if (repeats.empty()) return repeats;
  // The first time through a picture brings its own repeats, from then on one more each time.
  int64_t total = 0;
  for (size_t i = 0; i < repeats.size() && total < num_train_images; ++i) {
    repeats[i] = num_repeats[i];
    total += repeats[i];
  }
  const int64_t missing = std::max<int64_t>(0, num_train_images - total);
  const auto count = static_cast<int64_t>(repeats.size());
  for (int64_t i = 0; i < count; ++i)
    repeats[static_cast<size_t>(i)] += missing / count + (i < missing % count ? 1 : 0);
  return repeats;
}

ListedPictureSet list_picture_set(const DatasetOptions& options, const ReadSettings& settings) {
  ListedPictureSet listed{.set = {.options = options}, .files = {}};
  PictureSet& set = listed.set;
  std::set<std::string> seen;  // folders or metadata files: the first subset of each counts
  for (const SubsetOptions& subset : options.subsets) {
    const bool has_metadata = options.style == CaptionStyle::kMetadata;
    const std::string& name = has_metadata ? subset.metadata_file : subset.image_dir;
    set.tag_counts.emplace_back();
    set.num_files.push_back(0);
    listed.files.emplace_back();
    const bool is_trained = subset.num_repeats >= 1,
               is_validated = has_split(options) && !subset.is_reg && !has_metadata;
    if (!is_trained) {
      set.notices.add("no_repeats",
                      "expected num_repeats of at least 1, got " + std::to_string(subset.num_repeats) +
                          (is_validated ? ": the subset is not trained on" : ": the subset is left out"),
                      name);
      if (!is_validated) continue;
    }
    check_sample_count(subset.num_repeats, options.place);
    if (is_trained && !seen.insert(name).second) {
      set.notices.add(
          "same_subset",
          "expected each folder once in a data set, got it again: the first subset counts (try a second [[datasets]])",
          name);
      continue;
    }

    SubsetFiles found = list_subset_files(subset, options.style, settings.root, set.notices);
    set.tag_counts.back() = std::move(found.tag_counts);
    listed.files.back() = with_sizes(std::move(found.pictures), settings.num_threads, subset.alpha_mask, set.notices);
    set.num_files.back() = static_cast<int64_t>(listed.files.back().size());
    if (listed.files.back().empty()) {
      set.notices.add("no_pictures", "expected pictures, got none: the subset is left out", name);
    }
  }
  return listed;
}

PictureSet fill_picture_set(ListedPictureSet listed, const ReadSettings& settings, const HeldBack& held_back) {
  PictureSet set = std::move(listed.set);
  const DatasetOptions& options = set.options;
  Registry train, validation;
  std::vector<Picture> regularisation;
  for (size_t number = 0; number < options.subsets.size(); ++number) {
    const SubsetOptions& subset = options.subsets[number];
    const std::vector<PictureFile>& files = listed.files[number];
    const auto picture_of = [&](size_t i, int64_t repeats) {
      return Picture{.file = files[i],
                     .subset = number,
                     .is_reg = subset.is_reg,
                     .num_repeats = repeats,
                     .size = *files[i].size,
                     .face = face_of(options, subset, files[i], set.notices)};
    };
    const ValidationSplit parts = split_subset(options, subset, files, settings, held_back);
    for (const size_t i : parts.train) {
      Picture picture = picture_of(i, subset.num_repeats);
      (subset.is_reg ? set.num_reg_images : set.num_train_images) += subset.num_repeats;
      if (subset.is_reg) {
        regularisation.push_back(std::move(picture));
      } else {
        train.add(std::move(picture));
      }
    }
    for (const size_t i : parts.validation) validation.add(picture_of(i, 1));
    // Of captions that are trained; metadata files have tags that are counted as they stand there.
    if (parts.train.size() < files.size() && options.style != CaptionStyle::kMetadata) {
      set.tag_counts[number].clear();
      for (const size_t i : parts.train) count_tags(files[i].caption, set.tag_counts[number]);
    }
  }

  if (set.num_reg_images > set.num_train_images) {
    set.notices.add("unused_reg",
                    "expected at most as many regularisation pictures as others with their repeats, " +
                        std::to_string(set.num_train_images) + ", got " + std::to_string(set.num_reg_images) +
                        ": some are not used",
                    options.place);
  }
  std::vector<int64_t> repeats;
  for (const Picture& picture : regularisation) repeats.push_back(picture.num_repeats);
  repeats = balanced_repeats(repeats, set.num_train_images);
  for (size_t i = 0; i < regularisation.size(); ++i) {
    regularisation[i].num_repeats = repeats[i];
    if (repeats[i] > 0) train.add(std::move(regularisation[i]));
  }
  set.train.pictures = train.take();
  set.validation.pictures = validation.take();
  fill_buckets(options, set.train, set.notices);
  Notices unused;  // pictures of the validation are noted with the others where they are too small
  fill_buckets(options, set.validation, unused);
  return set;
}

PictureSet read_picture_set(const DatasetOptions& options, const ReadSettings& settings) {
  return fill_picture_set(list_picture_set(options, settings), settings, {});
}

void check_trainable(const std::vector<PictureSet>& sets, bool is_validation) {
  std::string problems, left_out;
  int64_t samples = 0;
  for (const PictureSet& set : sets) {
    samples += (is_validation ? set.validation : set.train).num_samples();
    for (const Notice& notice : set.notices.all()) {
      if (notice.is_fatal) problems += (problems.empty() ? "" : "\n") + notice_text(notice);
      if (ends_with(notice.message, "left out")) left_out += "\n" + notice_text(notice);
    }
  }
  if (!problems.empty()) throw DataError(problems);
  if (samples == 0) {
    throw DataError("[" + (sets.empty() ? std::string("data set") : sets[0].options.place) + "] expected pictures to " +
                    (is_validation ? "validate" : "train") + " on, got none (try millrace inspect)" + left_out);
  }
}

}  // namespace millrace
