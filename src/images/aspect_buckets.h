// Aspect buckets: a picture is scaled to cover one of a list of sizes with about the same area and its own shape, and
// the rest is cropped away, so that pictures of many shapes train in batches of one size each.
//
// The arithmetic is that of kohya-ss/sd-scripts (library/model_util.py, library/train_util.py, commit 48d368f), where
// the differences of aspect ratios are compared, not their logarithms. All sizes are [width, height] in pixels.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace millrace {

struct PictureSize {
  int64_t width = 0;
  int64_t height = 0;

  int64_t area() const { return width * height; }
  auto operator<=>(const PictureSize&) const = default;
};
std::string size_text(const PictureSize& size);  // "1280 x 768"

struct BucketRules {
  PictureSize resolution;      // its area is what a bucket may have at most
  bool enable_bucket = false;  // false: one bucket, resolution itself
  int64_t min_bucket_reso = 256;
  int64_t max_bucket_reso = 1024;
  int64_t bucket_reso_steps = 64;
  // A picture of less than the area keeps its size, cut down to whole steps; a larger one is only scaled down. There
  // is no list then, and the two limits do not count.
  bool bucket_no_upscale = false;
};

// Rounds the lower limit down and the upper one up to whole steps. Throws ConfigError naming place: steps, limits or
// resolution not positive, a side of resolution outside of the limits.
void adjust_bucket_limits(BucketRules& rules, const std::string& place);

// Sorted by width, then height; of one aspect ratio there may be several.
std::vector<PictureSize> bucket_resolutions(const BucketRules& rules);

struct BucketChoice {
  PictureSize bucket;
  PictureSize resized;      // covers the bucket
  double aspect_error = 0;  // bucket's width / height minus the picture's

  // Where a crop in the middle starts, in the resized picture.
  PictureSize crop_offset() const { return {(resized.width - bucket.width) / 2, (resized.height - bucket.height) / 2}; }
};

class BucketSelector {
 public:
  explicit BucketSelector(const BucketRules& rules);
  // nullopt where a side of the bucket would be 0: a picture below one step.
  std::optional<BucketChoice> select(const PictureSize& picture) const;

 private:
  BucketChoice covering(const PictureSize& picture) const;
  BucketChoice only_smaller(const PictureSize& picture) const;

  BucketRules rules_;
  std::vector<PictureSize> buckets_;
};

// Left, top, right, bottom of the picture fitted inside its bucket, as it stands in caches of latents beside them
// (fractions of pixels; FLUX does not use it).
std::array<double, 4> crop_ltrb(const PictureSize& bucket, const PictureSize& picture);

}  // namespace millrace
