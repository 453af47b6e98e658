#include "images/aspect_buckets.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"

namespace millrace {
namespace {

constexpr int64_t kMaxBucketSide = 1 << 16;  // far beyond any model; areas fit their type

double aspect(const PictureSize& size) {
  return static_cast<double>(size.width) / static_cast<double>(size.height);
}

int64_t nearest_pixel(double value) {
  return static_cast<int64_t>(value + 0.5);
}

int64_t whole_steps(int64_t value, int64_t step) {
  return value - value % step;
}

// floor(sqrt(area)), exactly.
int64_t whole_root(int64_t area) {
  int64_t root = static_cast<int64_t>(std::sqrt(static_cast<double>(area)));
  while (root * root > area) --root;
  while ((root + 1) * (root + 1) <= area) ++root;
  return root;
}

}  // namespace

std::string size_text(const PictureSize& size) {
  return std::to_string(size.width) + " x " + std::to_string(size.height);
}

void adjust_bucket_limits(BucketRules& rules, const std::string& place) {
  const auto require = [&](bool holds, const std::string& expected, const std::string& got) {
    if (!holds) throw ConfigError("[" + place + "] expected " + expected + ", got " + got);
  };
  require(rules.resolution.width > 0 && rules.resolution.height > 0, "a resolution above 0",
          size_text(rules.resolution));
  const int64_t largest = std::max(rules.resolution.width, rules.resolution.height);
  require(largest <= kMaxBucketSide, "a resolution of at most " + std::to_string(kMaxBucketSide),
          size_text(rules.resolution));
  if (!rules.enable_bucket) return;
  require(rules.max_bucket_reso <= kMaxBucketSide, "max_bucket_reso of at most " + std::to_string(kMaxBucketSide),
          std::to_string(rules.max_bucket_reso));
  const int64_t step = rules.bucket_reso_steps;
  require(step > 0 && step <= kMaxBucketSide, "bucket_reso_steps from 1 to " + std::to_string(kMaxBucketSide),
          std::to_string(step));
  require(rules.min_bucket_reso > 0, "min_bucket_reso above 0", std::to_string(rules.min_bucket_reso));
  require(rules.max_bucket_reso > 0, "max_bucket_reso above 0", std::to_string(rules.max_bucket_reso));
  rules.min_bucket_reso = whole_steps(rules.min_bucket_reso, step);
  rules.max_bucket_reso = whole_steps(rules.max_bucket_reso + step - 1, step);
  const int64_t shorter = std::min(rules.resolution.width, rules.resolution.height);
  const int64_t longer = std::max(rules.resolution.width, rules.resolution.height);
  require(rules.min_bucket_reso <= shorter,
          "min_bucket_reso of at most the resolution's shorter side, " + std::to_string(shorter),
          std::to_string(rules.min_bucket_reso) +
              (shorter < step ? " (try a resolution of at least bucket_reso_steps, " + std::to_string(step) + ")"
                              : " (try min_bucket_reso = " + std::to_string(whole_steps(shorter, step)) + ")"));
  require(rules.max_bucket_reso >= longer,
          "max_bucket_reso of at least the resolution's longer side, " + std::to_string(longer),
          std::to_string(rules.max_bucket_reso) +
              " (try max_bucket_reso = " + std::to_string(whole_steps(longer + step - 1, step)) + ")");
}

std::vector<PictureSize> bucket_resolutions(const BucketRules& rules) {
  const int64_t step = rules.bucket_reso_steps;
  const int64_t area = rules.resolution.area();
  std::set<PictureSize> sizes;
  const int64_t square = whole_steps(whole_root(area), step);
  sizes.insert({square, square});
  for (int64_t width = std::max(rules.min_bucket_reso, step); width <= rules.max_bucket_reso; width += step) {
    const int64_t height = std::min(rules.max_bucket_reso, whole_steps(area / width, step));
    if (height < rules.min_bucket_reso || height == 0) continue;
    sizes.insert({width, height});
    sizes.insert({height, width});
  }
  return {sizes.begin(), sizes.end()};
}

BucketSelector::BucketSelector(const BucketRules& rules) : rules_(rules) {
  if (!rules.enable_bucket) {
    buckets_ = {rules.resolution};
  } else if (!rules.bucket_no_upscale) {
    buckets_ = bucket_resolutions(rules);
  }
}

std::optional<BucketChoice> BucketSelector::select(const PictureSize& picture) const {
  MILLRACE_CHECK(picture.width > 0 && picture.height > 0);
  BucketChoice choice = buckets_.empty() ? only_smaller(picture) : covering(picture);
  if (choice.bucket.width <= 0 || choice.bucket.height <= 0) return std::nullopt;
  choice.aspect_error = aspect(choice.bucket) - aspect(picture);
  return choice;
}

BucketChoice BucketSelector::covering(const PictureSize& picture) const {
  const double ratio = aspect(picture);
  auto bucket = std::find(buckets_.begin(), buckets_.end(), picture);
  if (bucket == buckets_.end()) {
    bucket = std::min_element(buckets_.begin(), buckets_.end(), [&](const PictureSize& a, const PictureSize& b) {
      return std::abs(aspect(a) - ratio) < std::abs(aspect(b) - ratio);
    });
  }
  const double scale = ratio > aspect(*bucket)
                           ? static_cast<double>(bucket->height) / static_cast<double>(picture.height)
                           : static_cast<double>(bucket->width) / static_cast<double>(picture.width);
  return {*bucket,
          {nearest_pixel(static_cast<double>(picture.width) * scale),
           nearest_pixel(static_cast<double>(picture.height) * scale)}};
}

BucketChoice BucketSelector::only_smaller(const PictureSize& picture) const {
  const int64_t step = rules_.bucket_reso_steps;
  const int64_t area = rules_.resolution.area();
  const auto rounded = [&](double value) { return whole_steps(nearest_pixel(value), step); };
  PictureSize resized = picture;
  if (picture.area() > area) {
    // The ideal size of that area, with either the width or the height rounded to whole steps: whichever keeps the
    // shape better.
    const double ratio = aspect(picture);
    const double ideal_width = std::sqrt(static_cast<double>(area) * ratio);
    const double ideal_height = static_cast<double>(area) / ideal_width;
    const int64_t width_a = rounded(ideal_width);
    const int64_t height_a = rounded(static_cast<double>(width_a) / ratio);
    const int64_t height_b = rounded(ideal_height);
    const int64_t width_b = rounded(static_cast<double>(height_b) * ratio);
    if (height_a == 0 || height_b == 0) return {};
    const bool is_a = std::abs(aspect({width_a, height_a}) - ratio) < std::abs(aspect({width_b, height_b}) - ratio);
    resized = is_a ? PictureSize{width_a, nearest_pixel(static_cast<double>(width_a) / ratio)}
                   : PictureSize{nearest_pixel(static_cast<double>(height_b) * ratio), height_b};
  }
  return {{whole_steps(resized.width, step), whole_steps(resized.height, step)}, resized};
}

std::array<double, 4> crop_ltrb(const PictureSize& bucket, const PictureSize& picture) {
  const double ratio = aspect(picture);
  const double bucket_width = static_cast<double>(bucket.width), bucket_height = static_cast<double>(bucket.height);
  const bool is_wider = aspect(bucket) > ratio;  // the bucket
  const double width = is_wider ? bucket_height * ratio : bucket_width;
  const double height = is_wider ? bucket_height : bucket_width / ratio;
  const double left = std::floor((bucket_width - width) / 2), top = std::floor((bucket_height - height) / 2);
  return {left, top, left + width, top + height};
}

}  // namespace millrace
