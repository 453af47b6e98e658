#include "images/decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "base/philox.h"
#include "images/encode.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// Smooth, so that JPEG keeps it.
Image gradient(int width, int height, int channels = 3) {
  Image image;
  image.reshape(width, height, channels);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      uint8_t* pixel = image.row(y) + x * channels;
      pixel[0] = static_cast<uint8_t>(255 * x / width);
      pixel[1] = static_cast<uint8_t>(255 * y / height);
      pixel[2] = static_cast<uint8_t>(255 - 255 * x / width);
      if (channels == 4) pixel[3] = static_cast<uint8_t>((x * y) % 256);
    }
  }
  return image;
}

std::string message_of(const std::string& content, const DecodeOptions& options = {}) {
  try {
    decode_image(bytes_of(content), "shard.tar: key", options);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

void put_32(std::string& content, size_t at, uint32_t value) {
  for (int i = 0; i < 4; ++i) content[at + i] = static_cast<char>(value >> (24 - 8 * i));
}

TEST(Decode, PngKeepsEveryPixelAndDropsAlpha) {
  const Image rgba = gradient(37, 23, 4);
  const Image decoded = decode_image(bytes_of(encode_png(rgba)), "a").image;
  ASSERT_EQ(decoded.width, 37);
  ASSERT_EQ(decoded.height, 23);
  ASSERT_EQ(decoded.channels, 3);
  for (int i = 0; i < 37 * 23; ++i) {
    for (int c = 0; c < 3; ++c) ASSERT_EQ(decoded.pixels[3 * i + c], rgba.pixels[4 * i + c]) << i;
  }
}

TEST(Decode, PngKeepsAlphaWhereItIsWanted) {
  const Image rgba = gradient(37, 23, 4), rgb = gradient(37, 23, 3);
  EXPECT_EQ(decode_image(bytes_of(encode_png(rgba)), "a", {.keep_alpha = true}).image.pixels, rgba.pixels);
  const Image opaque = decode_image(bytes_of(encode_png(rgb)), "a", {.keep_alpha = true}).image;
  ASSERT_EQ(opaque.channels, 4);
  for (size_t i = 0; i < 37 * 23; ++i) {
    ASSERT_EQ(opaque.pixels[4 * i], rgb.pixels[3 * i]);
    ASSERT_EQ(opaque.pixels[4 * i + 3], 255);
  }
}

TEST(Decode, JpegIsNear) {
  const Image image = gradient(64, 48);
  const Image decoded = decode_image(bytes_of(encode_jpeg(image, 95, true)), "a").image;
  ASSERT_EQ(decoded.pixels.size(), image.pixels.size());
  for (size_t i = 0; i < image.pixels.size(); ++i) ASSERT_NEAR(decoded.pixels[i], image.pixels[i], 6) << i;
}

TEST(Encode, IsTheSameEveryTimeAndCarriesTexts) {
  const Image image = gradient(16, 16);
  const PngText texts = {{"parameters", "a red apple, gr\xC3\xBC\xC3\x9F"}};
  const std::string content = encode_png(image, texts);
  EXPECT_EQ(content, encode_png(image, texts));
  EXPECT_THAT(content, HasSubstr("iTXtparameters"));
  EXPECT_THAT(content, HasSubstr("a red apple, gr\xC3\xBC\xC3\x9F"));
}

TEST(Decode, ScaledJpegStaysAtLeastAsLargeAsAsked) {
  const std::string content = encode_jpeg(gradient(1001, 803), 90);
  for (const auto& [min_side, width, height] : {std::tuple{512, 1001, 803},
                                                {402, 501, 402},
                                                {401, 501, 402},
                                                {201, 251, 201},
                                                {60, 126, 101},
                                                {0, 1001, 803}}) {
    DecodeOptions options;
    options.min_short_side = min_side;
    const DecodedImage decoded = decode_image(bytes_of(content), "a", options);
    EXPECT_EQ(decoded.image.width, width) << min_side;
    EXPECT_EQ(decoded.image.height, height) << min_side;
    EXPECT_EQ(decoded.source_width, 1001);
    EXPECT_EQ(decoded.source_height, 803);
  }
}

TEST(Decode, TruncatedPicturesKeepWhatIsThere) {
  const Image image = gradient(128, 128);
  for (const std::string& whole : {encode_jpeg(image), encode_png(image)}) {
    const std::string half = whole.substr(0, whole.size() * 2 / 3);
    const DecodedImage decoded = decode_image(bytes_of(half), "a");
    EXPECT_TRUE(decoded.truncated);
    EXPECT_NEAR(decoded.image.row(2)[3 * 64], 127, 8);  // the top is the picture
    DecodeOptions strict;
    strict.allow_truncated = false;
    EXPECT_THAT(message_of(half, strict), HasSubstr("cut short"));
    EXPECT_FALSE(decode_image(bytes_of(whole), "a", strict).truncated);
  }
}

TEST(Decode, BombsAreRefusedFromTheirHeader) {
  std::string png = encode_png(gradient(16, 16));
  put_32(png, 16, 2'000'000'000);
  put_32(png, 20, 2'000'000'000);
  EXPECT_THAT(message_of(png), HasSubstr("2000000000 x 2000000000"));

  std::string jpeg = encode_jpeg(gradient(16, 16));
  const size_t frame = jpeg.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  for (size_t i = 5; i < 9; ++i) jpeg[frame + i] = '\xFF';
  EXPECT_THAT(message_of(jpeg), HasSubstr("65535 x 65535"));

  DecodeOptions tight;
  tight.max_pixels = 100;
  EXPECT_THAT(message_of(encode_png(gradient(16, 16)), tight), HasSubstr("at most 100 pixels"));
}

TEST(Decode, OtherContentIsNamed) {
  EXPECT_THAT(message_of(""), HasSubstr("[shard.tar: key] expected a JPEG, PNG or WebP picture, got an empty file"));
  EXPECT_THAT(message_of("GIF89a not a picture"), HasSubstr("got other content"));
  EXPECT_THAT(message_of("\xFF\xD8\xFF"), HasSubstr("header"));
  EXPECT_THAT(message_of(std::string("RIFF\x10\0\0\0WEBPVP8 ", 16)), HasSubstr("WebP"));
}

TEST(Decode, ProbeAsksForMoreBytesInsteadOfFailing) {
  for (const std::string& content : {encode_jpeg(gradient(20, 10)), encode_png(gradient(20, 10))}) {
    bool complete = false;
    for (size_t size = 0; size <= content.size(); ++size) {
      const auto info = probe_image(bytes_of(content).first(size), "a", false);
      ASSERT_TRUE(info || !complete) << size;
      if (!info) continue;
      complete = true;
      EXPECT_EQ(info->width, 20);
      EXPECT_EQ(info->height, 10);
    }
    EXPECT_TRUE(complete);
  }
}

// Run under ASan and UBSan too: whatever the bytes, an exception or a picture of the size its header says.
TEST(Decode, MutatedFilesNeverCrash) {
  const Image image = gradient(400, 300);
  const std::string whole[] = {encode_jpeg(image), encode_png(image), encode_png(gradient(400, 300, 4), {{"k", "v"}})};
  const RandomStream random = random_stream(1, RandomPurpose::kNoise, 0, 0);
  uint64_t draw = 0;
  int decoded = 0, refused = 0;
  DecodeOptions options;
  options.max_pixels = 1 << 20;
  for (int round = 0; round < 1500; ++round) {
    std::string content = whole[round % 3];
    const int edits = 1 + static_cast<int>(random_below(random, draw++, 6));
    for (int i = 0; i < edits; ++i) {
      const uint64_t at = random_below(random, draw++, content.size());
      content[at] = static_cast<char>(random_below(random, draw++, 256));
    }
    if (round % 5 == 0) content.resize(random_below(random, draw++, content.size()));
    try {
      const DecodedImage out = decode_image(bytes_of(content), "a", options);
      EXPECT_EQ(out.image.pixels.size(), static_cast<size_t>(out.source_width) * out.source_height * 3);
      ++decoded;
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_GT(decoded, 100);
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace millrace
