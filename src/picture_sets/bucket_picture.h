// A picture as a step trains on it: upright, scaled to cover its bucket, cropped, perhaps mirrored or of other colours.
#pragma once

#include <cstdint>
#include <vector>

#include "images/image.h"
#include "images/resample.h"
#include "picture_sets/augmentation.h"

namespace millrace {

// RGB of the bucket's size, scaled by Pillow's bicubic filter. Throws DataError for a picture that cannot be decoded.
Image load_for_bucket(const Picture& picture, const Augmentation& drawn);

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
TrainedPixels load_trained_pixels(const Picture& picture, const Augmentation& drawn, const LoadRequest& request);

Image mirrored(const Image& image);  // left and right

}  // namespace millrace
