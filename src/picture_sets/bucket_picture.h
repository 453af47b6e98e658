// A picture as a step trains on it: upright, scaled to cover its bucket, cropped, perhaps mirrored.
#pragma once

#include <cstdint>
#include <vector>

#include "base/philox.h"
#include "images/image.h"
#include "images/resample.h"
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

// A picture as it is trained on, and how much each of its pixels counts.
struct TrainedPixels {
  Image picture;              // RGB of the bucket's size
  std::vector<uint8_t> mask;  // [height, width], 255: counts in full; empty: all do
  bool is_truncated = false;
};
struct LoadRequest {
  Filter filter = Filter::kBicubic;
  bool alpha_mask = false;    // the mask is the alpha channel
  uint64_t content = 0;       // checksum64 of the file as it was; 0: it could not be read
  uint64_t mask_content = 0;  // likewise; of pictures with a mask_path
};
// A mask in a file of its own, whose red channel counts, is scaled and cropped as its picture. Throws DataError for a
// file that cannot be decoded, StorageError for one that cannot be read, and DataError for one that is no longer the
// same.
TrainedPixels load_trained_pixels(const Picture& picture, const CropAndFlip& crop, const LoadRequest& request);

Image mirrored(const Image& image);  // left and right

}  // namespace millrace
