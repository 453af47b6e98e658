#include "images/orientation.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "images/decode.h"
#include "images/encode.h"
#include "images/strict_check.h"

namespace millrace {
namespace {

std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// 2 x 3 pixels that all differ.
Image numbered() {
  Image image;
  image.reshape(2, 3, 3);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i);
  return image;
}

std::string jpeg_with_exif(int orientation) {
  Image grey;
  grey.reshape(40, 24, 3);
  for (size_t i = 0; i < grey.pixels.size(); ++i) grey.pixels[i] = static_cast<uint8_t>(i * 7);
  const std::string exif("Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", 24);
  const std::string content = exif + static_cast<char>(orientation) + std::string("\0\0\0\0\0\0\0", 7);
  const std::string xmp = std::string("http://ns.adobe.com/xap/1.0/\0", 29) + "<x tiff:Orientation=\"8\"/>";
  std::string file = encode_jpeg(grey);
  for (const std::string& segment : {xmp, content}) {
    const size_t length = segment.size() + 2;
    const char marker[] = {'\xFF', '\xE1', static_cast<char>(length >> 8), static_cast<char>(length)};
    file.insert(2, std::string(marker, 4) + segment);
  }
  return file;
}

TEST(Orientation, IsReadFromExifAndElseFromXmp) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    EXPECT_EQ(read_orientation(as_bytes(jpeg_with_exif(orientation))), orientation);
  }
  std::string without = jpeg_with_exif(5);
  without[without.find(std::string("\x12\x01", 2))] = '\x13';
  EXPECT_EQ(read_orientation(as_bytes(without)), 8);
  EXPECT_EQ(read_orientation({}), 1);
}

TEST(Orientation, TurningFourTimesOrTwiceGivesThePictureBack) {
  const Image image = numbered();
  for (const int orientation : {2, 3, 4, 5, 7}) {
    EXPECT_EQ(turn_upright(turn_upright(image, orientation), orientation).pixels, image.pixels) << orientation;
  }
  EXPECT_EQ(turn_upright(turn_upright(image, 6), 8).pixels, image.pixels);
  const Image right = turn_upright(image, 6);
  EXPECT_EQ(right.width, 3);
  EXPECT_EQ(right.row(0)[0], image.row(2)[0]) << "the lower left corner comes up left";
}

TEST(DamagedPictures, AreJudgedWithoutHarm) {
  const std::string sound = jpeg_with_exif(6);
  ASSERT_EQ(find_picture_problem(as_bytes(sound), "sound"), "");
  std::mt19937 random(5);
  int refused = 0;
  constexpr int kMutations = 4000;
  for (int i = 0; i < kMutations; ++i) {
    std::string text = sound;
    for (uint32_t changes = 1 + random() % 3; changes > 0; --changes) {
      const size_t at = random() % (i % 2 ? 140 : text.size());
      if (random() % 4 == 0) {
        text.erase(at, random() % 20);
      } else {
        text[at] = static_cast<char>(random());
      }
    }
    const int orientation = read_orientation(as_bytes(text));
    ASSERT_TRUE(orientation >= 1 && orientation <= 8);
    refused += !find_picture_problem(as_bytes(text), "fuzz").empty();
  }
  EXPECT_GT(refused, kMutations / 20);
  EXPECT_LT(refused, kMutations);
  for (size_t size = 0; size < sound.size(); size += 3) {
    EXPECT_NE(find_picture_problem(as_bytes(sound.substr(0, size)), "cut"), "") << size;
    if (size + 3 >= sound.size()) break;
  }
}

}  // namespace
}  // namespace millrace
