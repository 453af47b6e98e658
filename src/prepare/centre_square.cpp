#include "prepare/centre_square.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "images/orientation.h"
#include "images/strict_check.h"

namespace millrace {

CentreGeometry centre_geometry(int width, int height, int size) {
  MILLRACE_CHECK(width > 0 && height > 0 && size > 0);
  const auto [shorter, longer] = std::minmax(width, height);
  const auto scaled = static_cast<int>(static_cast<double>(int64_t{size} * longer) / shorter);
  const auto middle = static_cast<int>(std::nearbyint((scaled - size) / 2.0));  // half to even, by default
  if (width <= height) return {size, scaled, {0, middle, size, size}};
  return {scaled, size, {middle, 0, size, size}};
}

Image centre_square(std::span<const std::byte> file, const std::string& name, int size, CentreScratch& scratch) {
  // PIL's problem with the file, then the pixels.
  std::string problem;
  const int orientation = read_orientation(file, &problem);
  if (problem.empty()) {
    DecodeOptions options;
    options.max_pixels = kMaxDefaultPixels;
    options.keep_cmyk = true;
    decode_image_into(file, name, options, scratch.decoded);
    // Decoding finds damage, some of which PIL tolerates.
    if (scratch.decoded.truncated) problem = find_picture_problem(file, name);
  }
  if (!problem.empty()) throw DataError(str("[", name, "] ", problem));

  Image& picture = scratch.decoded.image;
  if (orientation != 1) picture = turn_upright(picture, orientation);
  const auto [shorter, longer] = std::minmax(picture.width, picture.height);
  if (shorter < 1 || int64_t{longer} * size / shorter > (1 << 24))
    throw DataError(str("[", name, "] expected a picture, got a line of ", picture.width, " x ", picture.height));
  const CentreGeometry geometry = centre_geometry(picture.width, picture.height, size);
  Image square;
  if (geometry.width == picture.width && geometry.height == picture.height) {
    square = crop(picture, geometry.square);
  } else {
    resize_and_crop(picture, geometry.width, geometry.height, Filter::kBicubic, geometry.square, scratch.wide, square);
  }
  return square.channels == 4 ? cmyk_to_rgb(square) : square;
}

}  // namespace millrace
