#include "picture_sets/bucket_picture.h"

#include <algorithm>
#include <cstring>

#include "images/resample.h"
#include "picture_sets/pixel_checks.h"

namespace millrace {

CropAndFlip draw_crop(const BucketChoice& choice, const SubsetOptions& subset, const RandomStream& augmentation) {
  CropAndFlip drawn{.offset = choice.crop_offset(), .is_mirrored = false};
  if (subset.random_crop) {
    const auto within = [&](uint64_t index, int64_t slack) {
      return static_cast<int64_t>(random_below(augmentation, index, static_cast<uint64_t>(slack) + 1));
    };
    drawn.offset = {within(0, choice.resized.width - choice.bucket.width),
                    within(1, choice.resized.height - choice.bucket.height)};
  }
  drawn.is_mirrored = subset.flip_aug && random_below(augmentation, 2, 2) == 1;
  return drawn;
}

RandomStream crop_stream(uint64_t seed, uint32_t epoch, uint64_t sample_id) {
  return random_stream(seed, RandomPurpose::kAugmentation, epoch, sample_id);
}

Image load_for_bucket(const Picture& picture, const CropAndFlip& crop) {
  const BucketChoice& choice = picture.choice;
  const Image upright = load_upright(picture.file.path);
  const Box box = {static_cast<int>(crop.offset.width), static_cast<int>(crop.offset.height),
                   static_cast<int>(choice.bucket.width), static_cast<int>(choice.bucket.height)};
  Image scratch, out;
  resize_and_crop(upright, static_cast<int>(choice.resized.width), static_cast<int>(choice.resized.height),
                  Filter::kBicubic, box, scratch, out);
  return crop.is_mirrored ? mirrored(out) : out;
}

Image mirrored(const Image& image) {
  Image out;
  out.reshape(image.width, image.height, image.channels);
  const auto channels = static_cast<size_t>(image.channels), width = static_cast<size_t>(image.width);
  for (int y = 0; y < image.height; ++y) {
    for (size_t x = 0; x < width; ++x) {
      std::memcpy(out.row(y) + (width - 1 - x) * channels, image.row(y) + x * channels, channels);
    }
  }
  return out;
}

}  // namespace millrace
