// A picture as a step trains on it: upright, scaled to cover its bucket, cropped, perhaps mirrored.
#pragma once

#include "base/philox.h"
#include "images/image.h"
#include "picture_sets/picture_set.h"

namespace millrace {

struct CropAndFlip {
  PictureSize offset;  // left and top of the crop in the scaled picture
  bool is_mirrored = false;
};

// In the middle, or with random_crop anywhere; mirrored half of the times with flip_aug. Both by the sample's own
// numbers.
CropAndFlip draw_crop(const BucketChoice& choice, const SubsetOptions& subset, const RandomStream& augmentation);

// The numbers that draw_crop() takes for a sample in an epoch.
RandomStream crop_stream(uint64_t seed, uint32_t epoch, uint64_t sample_id);

// RGB of the bucket's size, scaled by Pillow's bicubic filter. Throws DataError for a picture that cannot be decoded.
Image load_for_bucket(const Picture& picture, const CropAndFlip& crop);

Image mirrored(const Image& image);  // left and right

}  // namespace millrace
