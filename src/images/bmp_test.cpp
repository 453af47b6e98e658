#include "images/bmp.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "images/picture_header.h"

namespace millrace {
namespace {

// A bitmap of 2 x 2 pixels: red and green above blue and white.
std::vector<std::byte> small_bitmap(int bits, bool is_top_down) {
  std::vector<std::byte> file;
  const auto put = [&](uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) file.push_back(static_cast<std::byte>(value >> 8 * i));
  };
  const uint32_t palette = bits == 8 ? 4 * 4 : 0;
  put(0x4D42, 2);
  put(0, 4);  // the file's size, which nothing reads
  put(0, 4);
  put(54 + palette, 4);
  put(40, 4);
  put(2, 4);
  put(is_top_down ? static_cast<uint32_t>(-2) : 2, 4);
  put(1, 2);
  put(static_cast<uint32_t>(bits), 2);
  for (int i = 0; i < 4; ++i) put(0, 4);
  put(bits == 8 ? 4 : 0, 4);
  put(0, 4);
  const uint32_t colours[] = {0xFF0000, 0x00FF00, 0x0000FF,
                              0xFFFFFF};  // of a row: red, green; of the next: blue, white
  if (bits == 8) {
    for (const uint32_t colour : colours) put(colour, 4);
  }
  for (int line = 0; line < 2; ++line) {
    const uint32_t row = static_cast<uint32_t>(is_top_down ? line : 1 - line);
    for (uint32_t x = 0; x < 2; ++x) put(bits == 8 ? 2 * row + x : colours[2 * row + x], bits / 8);
    while ((file.size() - 54 - palette) % 4 != 0) put(0, 1);
  }
  return file;
}

TEST(Bmp, DecodesEveryKindAlike) {
  const std::vector<uint8_t> expected = {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255};
  for (const int bits : {8, 24, 32}) {
    for (const bool is_top_down : {false, true}) {
      const std::vector<std::byte> file = small_bitmap(bits, is_top_down);
      const Image image = decode_bmp(file, "a.bmp", 100);
      EXPECT_EQ(image.width, 2);
      EXPECT_EQ(image.height, 2);
      EXPECT_EQ(image.pixels, expected) << bits << " " << is_top_down;
      EXPECT_EQ(read_picture_header(file, "a.bmp").format, "BMP");
    }
  }
}

TEST(Bmp, RefusesDamageAndTooManyPixels) {
  std::vector<std::byte> file = small_bitmap(24, false);
  EXPECT_THROW(decode_bmp(file, "a.bmp", 3), DataError);
  for (size_t bytes = 0; bytes < file.size(); ++bytes) {
    EXPECT_THROW(decode_bmp({file.data(), bytes}, "a.bmp", 100), DataError) << bytes;
  }
  std::vector<std::byte> outside = small_bitmap(8, false);
  outside[54 + 16] = std::byte{200};
  EXPECT_THROW(decode_bmp(outside, "a.bmp", 100), DataError);
  file[30] = std::byte{1};  // run-length coding
  EXPECT_THROW(read_bmp_header(file, "a.bmp"), DataError);
}

}  // namespace
}  // namespace millrace
