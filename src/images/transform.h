// The training transform of torchtitan's FLUX recipe (`_process_cc12m_image`): scale the shorter side to s, crop the
// longer one to s, RGB, value / 255 * 2 - 1. A picture that already is s x s is not touched.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/philox.h"
#include "images/decode.h"
#include "images/resample.h"

namespace millrace {

enum class CropPlace { kRandom, kCentre };

struct SquareTransform {
  int size = 256;  // pixels a side of the result
  CropPlace crop = CropPlace::kRandom;
  // false: a JPEG of at least twice the needed size is decoded at 1/2, 1/4 or 1/8, still at least twice the needed
  // size; about one grey level from the exact result on average, several times as fast. true: the pixels of PIL.
  bool exact_decode = false;
  DecodeOptions decode;
};

// The result of scaling the shorter side of a width x height picture to size.
struct CoverGeometry {
  int width;   // after scaling
  int height;  // after scaling
  int slack;   // how far the crop can move along the longer side
};
CoverGeometry cover_geometry(int width, int height, int size);

// Where the crop starts: uniform in 0..slack, from the sample's random stream, or in the middle.
int crop_offset(const CoverGeometry& geometry, CropPlace place, const RandomStream& augmentation);

// Buffers reused from picture to picture; one per thread.
struct TransformScratch {
  DecodedImage decoded;
  Image wide;
  Image square;
};

// Decodes bytes and leaves the size x size RGB picture in scratch.square. Throws DataError naming `name`.
void load_square(std::span<const std::byte> bytes, const std::string& name, const SquareTransform& transform,
                 const RandomStream& augmentation, TransformScratch& scratch);

// out: [3, height, width], value / 255 * 2 - 1.
void image_to_planes(const Image& rgb, float* out);
// The inverse, rounding to nearest and clipping; for showing pictures.
Image planes_to_image(const float* planes, int width, int height);

}  // namespace millrace
