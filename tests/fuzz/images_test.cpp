// Damaged pictures: what they say beside their pixels, and their pixels, are read or refused.
#include <string>
#include <vector>

#include "base/error.h"
#include "damaged_files.h"
#include "images/decode.h"
#include "images/encode.h"
#include "images/exif.h"
#include "images/orientation.h"
#include "images/strict_check.h"
#include "webp_samples.h"

namespace millrace {
namespace {

constexpr int64_t kMostPixels = 1 << 12;  // a picture's size is not damage, however large

void read_picture(const std::string& text) {
  const int orientation = read_orientation(as_bytes(text));
  ASSERT_TRUE(orientation >= 1 && orientation <= 8);
  const ImageInfo info = *probe_image(as_bytes(text), "fuzz");
  if (int64_t{info.width} * info.height > kMostPixels) throw DataError("[fuzz] expected a small picture, got another");
  const std::string problem = find_picture_problem(as_bytes(text), "fuzz");
  const DecodedImage decoded = decode_image(as_bytes(text), "fuzz");
  ASSERT_EQ(decoded.image.pixels.size(), static_cast<size_t>(info.width) * static_cast<size_t>(info.height) * 3);
  touch(std::as_bytes(std::span(decoded.image.pixels)));
  if (!problem.empty()) throw DataError(problem);
}

Image small_picture(int channels) {
  Image image;
  image.reshape(12, 9, channels);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 7);
  return image;
}

std::vector<std::string> png_samples() {
  return {
      encode_png(small_picture(3), {{"parameters", "a text"}, {"XML:com.adobe.xmp", "<x tiff:Orientation=\"6\"/>"}}),
      encode_png(small_picture(4))};
}

std::vector<std::string> jpeg_samples() {
  const std::string plain = encode_jpeg(small_picture(3));
  const std::string exif = std::string("Exif\0\0", 6) + exif_block({.make = "a camera", .model = "of some make"});
  const size_t length = exif.size() + 2;
  std::string with_exif = plain;
  with_exif.insert(2, "\xFF\xE1" + std::string{static_cast<char>(length >> 8), static_cast<char>(length)} + exif);
  return {plain, with_exif};
}

class DamagedPicture : public testing::TestWithParam<FuzzTarget> {};

TEST_P(DamagedPicture, IsReadOrRefusedInBoundedMemory) {
  fuzz_mutations(GetParam());
}

TEST_P(DamagedPicture, EveryTruncationIsReadOrRefused) {
  fuzz_truncations(GetParam());
}

INSTANTIATE_TEST_SUITE_P(Images, DamagedPicture,
                         testing::Values(FuzzTarget{"png", 20000, png_samples, read_picture},
                                         FuzzTarget{"jpeg", 10000, jpeg_samples, read_picture},
                                         FuzzTarget{"webp", 20000, webp_samples, read_picture}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace millrace
