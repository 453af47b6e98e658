#include "images/transform.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "images/resample_kernels.h"

namespace millrace {
namespace {

constexpr double kMaxScaledSide = 1 << 30;  // where int arithmetic on positions still holds

}  // namespace

// In doubles and in this order, as the reference's math.ceil(size / height * width): a square picture can come out one
// pixel wider than high.
CoverGeometry cover_geometry(int width, int height, int size) {
  MILLRACE_CHECK(width > 0 && height > 0 && size > 0);
  const auto longer = [&](int shorter_side, int longer_side) {
    return static_cast<int>(std::ceil(static_cast<double>(size) / shorter_side * longer_side));
  };
  if (width >= height) {
    const int scaled = longer(height, width);
    return {scaled, size, scaled - size};
  }
  const int scaled = longer(width, height);
  return {size, scaled, scaled - size};
}

int crop_offset(const CoverGeometry& geometry, CropPlace place, const RandomStream& augmentation) {
  if (place == CropPlace::kCentre) return geometry.slack / 2;
  return static_cast<int>(random_below(augmentation, 0, static_cast<uint64_t>(geometry.slack) + 1));
}

void load_square(std::span<const std::byte> bytes, const std::string& name, const SquareTransform& transform,
                 const RandomStream& augmentation, TransformScratch& scratch) {
  DecodeOptions options = transform.decode;
  options.min_short_side = transform.exact_decode ? 0 : 2 * transform.size;
  decode_image_into(bytes, name, options, scratch.decoded);
  const auto [shorter, longer] = std::minmax(scratch.decoded.source_width, scratch.decoded.source_height);
  if (static_cast<double>(transform.size) / shorter * longer > kMaxScaledSide) {
    throw DataError("[" + name + "] expected a picture, got a line of " + std::to_string(scratch.decoded.source_width) +
                    " x " + std::to_string(scratch.decoded.source_height));
  }
  // The geometry is that of the whole picture, however it was decoded.
  const CoverGeometry geometry =
      cover_geometry(scratch.decoded.source_width, scratch.decoded.source_height, transform.size);
  const int offset = crop_offset(geometry, transform.crop, augmentation);
  const bool wide = geometry.width > transform.size;
  const Box box{wide ? offset : 0, wide ? 0 : offset, transform.size, transform.size};
  resize_and_crop(scratch.decoded.image, geometry.width, geometry.height, Filter::kBicubic, box, scratch.wide,
                  scratch.square);
}

void image_to_planes(const Image& rgb, float* out) {
  MILLRACE_CHECK(rgb.channels == 3);
  const size_t pixels = static_cast<size_t>(rgb.width) * rgb.height;
  pixel_kernels().rgb_to_planes(rgb.pixels.data(), pixels, out, out + pixels, out + 2 * pixels);
}

Image planes_to_image(const float* planes, int width, int height) {
  Image image;
  image.reshape(width, height, 3);
  const size_t pixels = static_cast<size_t>(width) * height;
  for (size_t i = 0; i < pixels; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      const float value = (planes[c * pixels + i] + 1.0f) * 127.5f;
      // Written so that NaN becomes 0.
      image.pixels[3 * i + c] = value > 0.0f ? static_cast<uint8_t>(std::min(255.0f, std::nearbyint(value))) : 0;
    }
  }
  return image;
}

}  // namespace millrace
