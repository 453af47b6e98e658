#include "picture_sets/bucket_picture.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/printable.h"
#include "picture_sets/pixel_checks.h"

namespace millrace {
namespace {

Image fit_to_bucket(const Image& upright, const Picture& picture, const Augmentation& drawn, Filter filter) {
  const BucketChoice& choice = picture.choice;
  const Box box = {static_cast<int>(drawn.offset.width), static_cast<int>(drawn.offset.height),
                   static_cast<int>(choice.bucket.width), static_cast<int>(choice.bucket.height)};
  Image scratch, out;
  resize_and_crop(upright, static_cast<int>(drawn.resized.width), static_cast<int>(drawn.resized.height), filter, box,
                  scratch, out);
  return drawn.is_mirrored ? mirrored(out) : out;
}

MappedFile open_unchanged(const std::string& path, uint64_t content) {
  MappedFile file(path);
  if (checksum64(file.bytes().data(), file.bytes().size()) != content) {
    throw DataError("[" + printable(path) + "] expected the file as it was when the run started, got other content");
  }
  return file;
}

std::vector<uint8_t> channel_of(const Image& image, size_t channel) {
  std::vector<uint8_t> values;
  const auto channels = static_cast<size_t>(image.channels);
  for (size_t i = channel; i < image.pixels.size(); i += channels) values.push_back(image.pixels[i]);
  return values;
}

Image without_alpha(const Image& rgba) {
  Image rgb;
  rgb.reshape(rgba.width, rgba.height, 3);
  for (size_t i = 0; i < rgba.pixels.size() / 4; ++i) std::memcpy(&rgb.pixels[3 * i], &rgba.pixels[4 * i], 3);
  return rgb;
}

}  // namespace

Image load_for_bucket(const Picture& picture, const Augmentation& drawn) {
  Image image = fit_to_bucket(load_upright(picture.file.path), picture, drawn, Filter::kBicubic);
  change_colours(image, drawn.colours);
  return image;
}

TrainedPixels load_trained_pixels(const Picture& picture, const Augmentation& drawn, const LoadRequest& request) {
  TrainedPixels pixels;
  const MappedFile file = open_unchanged(picture.file.path, request.content);
  Image image = fit_to_bucket(decode_upright(file.bytes(), picture.file.path, request.alpha_mask, &pixels.is_truncated),
                              picture, drawn, request.filter);
  if (image.channels == 4) {
    pixels.mask = channel_of(image, 3);
    image = without_alpha(image);
  }
  pixels.picture = std::move(image);
  change_colours(pixels.picture, drawn.colours);
  if (picture.file.mask_path.empty()) return pixels;
  const std::string& path = picture.file.mask_path;
  const MappedFile mask = open_unchanged(path, request.mask_content);
  pixels.mask = channel_of(fit_to_bucket(decode_upright(mask.bytes(), path, false), picture, drawn, request.filter), 0);
  return pixels;
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
