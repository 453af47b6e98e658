// torchvision's Resize(size, BICUBIC) and CenterCrop(size) of a picture as `datasets` decodes it.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "images/decode.h"
#include "images/resample.h"

namespace millrace {

struct CentreGeometry {
  int width;   // after scaling
  int height;  // after scaling
  Box square;  // of the scaled picture
};
// The other side is size * longer / shorter, truncated; the square begins at half of the excess, rounded half to even
// (Python's round). Needs a picture whose shorter side is at least 1.
CentreGeometry centre_geometry(int width, int height, int size);

struct CentreScratch {
  DecodedImage decoded;
  Image wide;
};

// The size x size RGB picture: decoded strictly (see images/strict_check.h), turned upright, scaled and cropped. CMYK
// pictures are scaled before conversion to RGB, all others after. Throws DataError naming `name`.
Image centre_square(std::span<const std::byte> file, const std::string& name, int size, CentreScratch& scratch);

}  // namespace millrace
