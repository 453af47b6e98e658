#include "images/resample.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/philox.h"
#include "images/resample_coefficients.h"
#include "images/resample_kernels.h"
#include "images/transform.h"

namespace millrace {
namespace {

Image noise(int width, int height, int channels, uint64_t id) {
  Image image;
  image.reshape(width, height, channels);
  const RandomStream random = random_stream(7, RandomPurpose::kNoise, 0, id);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(random_word(random, i) >> 24);
  return image;
}

struct Resize {
  int width, height, new_width, new_height;
};
const Resize kResizes[] = {{64, 48, 32, 24},   {100, 37, 33, 90}, {31, 57, 31, 20}, {57, 31, 90, 31}, {7, 5, 64, 64},
                           {513, 300, 64, 64}, {1, 1, 9, 3},      {300, 2, 10, 2},  {16, 16, 1, 1}};

constexpr Filter kFilters[] = {Filter::kBilinear, Filter::kBicubic, Filter::kLanczos,
                               Filter::kBox,      Filter::kArea,    Filter::kNearest};

TEST(Resample, CropFirstEqualsCropAfter) {
  for (const Resize& r : kResizes) {
    const Image image = noise(r.width, r.height, 3, 1);
    const Image whole = resize(image, r.new_width, r.new_height);
    const Box box{r.new_width / 3, r.new_height / 4, r.new_width - r.new_width / 3, r.new_height - r.new_height / 4};
    Image scratch, part;
    resize_and_crop(image, r.new_width, r.new_height, Filter::kBicubic, box, scratch, part);
    EXPECT_EQ(part.pixels, crop(whole, box).pixels) << r.width << " x " << r.height;
  }
}

TEST(Resample, AFlatPictureStaysFlat) {
  Image image = noise(97, 61, 3, 2);
  std::fill(image.pixels.begin(), image.pixels.end(), uint8_t{201});
  for (const Filter filter : kFilters) {
    for (const auto& [width, height] : {std::pair{31, 17}, {200, 90}, {97, 3}}) {
      for (const uint8_t value : resize(image, width, height, filter).pixels) ASSERT_EQ(value, 201);
    }
  }
}

TEST(Resample, TheSameSizeIsTheSamePicture) {
  const Image image = noise(40, 30, 4, 3);
  EXPECT_EQ(resize(image, 40, 30).pixels, image.pixels);
}

TEST(Resample, CoefficientsSumToOne) {
  for (const Filter filter : kFilters) {
    for (const auto& [source, target] : {std::pair{1000, 37}, {37, 1000}, {5, 5}, {1, 8}, {8, 1}}) {
      const ResampleCoefficients c = resample_coefficients(source, target, 0, target, filter);
      for (int i = 0; i < target; ++i) {
        int64_t sum = 0;
        for (int k = 0; k < c.taps; ++k) sum += c.weights[static_cast<size_t>(i) * c.taps + k];
        EXPECT_NEAR(static_cast<double>(sum), 1 << kCoefficientBits, c.taps) << source << " -> " << target;
        EXPECT_LE(c.first[i] + c.count[i], source);
        EXPECT_LE(c.count[i], c.taps);
      }
    }
  }
}

// Every CPU level computes the same integers, so that a data set looks the same on every machine.
TEST(Resample, AllCpuLevelsAgreeToTheBit) {
  const PixelKernels& reference = *pixel_kernels("v2");
  for (const char* level : {"v3", "v4"}) {
    const PixelKernels* kernels = pixel_kernels(level);
    if (!kernels) continue;  // this machine is older
    for (const Resize& r : kResizes) {
      for (const int channels : {3, 4}) {
        const Image image = noise(r.width, r.height, channels, 4);
        const ResampleCoefficients c = resample_coefficients(r.width, r.new_width, 0, r.new_width, Filter::kBicubic);
        const ResampleLine line{c.first.data(), c.count.data(), c.weights.data(), c.halves.data(), c.taps};
        std::vector<uint8_t> expected(static_cast<size_t>(r.new_width) * channels * r.height), got(expected.size());
        const auto rows = [&](const PixelKernels& k, std::vector<uint8_t>& out) {
          k.resample_rows(image.pixels.data(), r.width, r.height, channels, line, r.new_width, out.data());
        };
        rows(reference, expected);
        rows(*kernels, got);
        ASSERT_EQ(got, expected) << level << " " << r.width << " -> " << r.new_width;
        const ResampleCoefficients lines = resample_coefficients(r.height, 1, 0, 1, Filter::kBicubic);
        const auto size = static_cast<int>(image.row_bytes());
        expected.resize(size);
        got.resize(size);
        const auto column = [&](const PixelKernels& k, std::vector<uint8_t>& out) {
          k.resample_columns(image.row(lines.first[0]), image.row_bytes(), lines.weights.data(), lines.count[0], size,
                             out.data());
        };
        column(reference, expected);
        column(*kernels, got);
        ASSERT_EQ(got, expected) << level;
      }
    }
    const Image image = noise(67, 3, 3, 5);
    std::vector<float> expected(67 * 9), got(67 * 9);
    reference.rgb_to_planes(image.pixels.data(), 67 * 3, expected.data(), &expected[67 * 3], &expected[67 * 6]);
    kernels->rgb_to_planes(image.pixels.data(), 67 * 3, got.data(), &got[67 * 3], &got[67 * 6]);
    EXPECT_EQ(got, expected) << level;
  }
}

TEST(Transform, GeometryIsTheReferences) {
  const auto expect = [](int width, int height, int new_width, int new_height, int slack) {
    const CoverGeometry g = cover_geometry(width, height, 256);
    EXPECT_EQ(g.width, new_width) << width << " x " << height;
    EXPECT_EQ(g.height, new_height);
    EXPECT_EQ(g.slack, slack);
  };
  expect(256, 256, 256, 256, 0);
  expect(512, 256, 512, 256, 256);
  expect(1023, 768, 341, 256, 85);
  expect(768, 1025, 256, 342, 86);
  expect(1000, 1000, 256, 256, 0);
  expect(300, 257, 299, 256, 43);
}

TEST(Transform, CropsAreUniformAndBelongToTheSample) {
  const CoverGeometry geometry{260, 256, 4};
  std::vector<int> seen(5);
  for (uint64_t id = 0; id < 5000; ++id) {
    const RandomStream stream = random_stream(3, RandomPurpose::kAugmentation, 0, id);
    const int offset = crop_offset(geometry, CropPlace::kRandom, stream);
    ASSERT_EQ(offset, crop_offset(geometry, CropPlace::kRandom, stream));
    ++seen.at(offset);
  }
  for (const int count : seen) EXPECT_NEAR(count, 1000, 150);
  EXPECT_EQ(crop_offset(geometry, CropPlace::kCentre, {}), 2);
}

TEST(Transform, PlanesAreExactAndComeBack) {
  Image image;
  image.reshape(16, 16, 3);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i % 256);
  std::vector<float> planes(image.pixels.size());
  image_to_planes(image, planes.data());
  for (size_t i = 0; i < 256; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      const float expected = static_cast<float>(image.pixels[3 * i + c]) / 255.0f * 2.0f - 1.0f;
      ASSERT_EQ(planes[256 * c + i], expected);
    }
  }
  EXPECT_EQ(planes_to_image(planes.data(), 16, 16).pixels, image.pixels);
  const float odd[3] = {NAN, 5.0f, -5.0f};
  EXPECT_EQ(planes_to_image(odd, 1, 1).pixels, (std::vector<uint8_t>{0, 255, 0}));
}

}  // namespace
}  // namespace millrace
