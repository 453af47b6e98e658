#include "picture_sets/augmentation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "picture_sets/golden_test_support.h"

namespace millrace {
namespace {

using Kind = ColourChange::Kind;

const Picture kPicture = {.choice = {.bucket = {64, 64}, .resized = {66, 64}}};

TEST(DrawAugmentation, ReachesBothEndsAndBothSides) {
  SubsetOptions subset;
  subset.random_crop = subset.flip_aug = true;
  std::set<std::pair<int64_t, bool>> seen;
  for (uint64_t i = 0; i < 200; ++i) {
    const Augmentation drawn = draw_augmentation(kPicture, subset, augmentation_stream(1, 0, i));
    EXPECT_EQ(drawn.offset.height, 0);
    EXPECT_EQ(drawn.colours, ColourChange());
    seen.insert({drawn.offset.width, drawn.is_mirrored});
  }
  EXPECT_EQ(seen.size(), 6u);
}

TEST(DrawAugmentation, GoesAroundAFace) {
  Picture picture = kPicture;
  picture.size = {400, 300};
  picture.choice.bucket = {64, 64};
  picture.face = {.x = 200, .y = 150, .width = 60, .height = 50};
  SubsetOptions subset;
  subset.face_crop_aug_range = {1, 2};
  std::set<PictureSize> sizes, offsets;
  for (uint64_t i = 0; i < 100; ++i) {
    const Augmentation drawn = draw_augmentation(picture, subset, augmentation_stream(1, 0, i));
    sizes.insert(drawn.resized);
    offsets.insert(drawn.offset);
    const auto face_x = static_cast<double>(drawn.resized.width) / 2 - static_cast<double>(drawn.offset.width);
    EXPECT_NEAR(face_x, 32, 4.5);  // up to three pixels away, and rounding
  }
  EXPECT_GT(sizes.size(), 50u);
  EXPECT_GE(sizes.begin()->width, 400 * 32 / 60);
  EXPECT_LE(sizes.rbegin()->width, 400);
  EXPECT_TRUE(draws_crop(picture, subset));
  EXPECT_TRUE(draws_new_pictures(subset));
  subset.face_crop_aug_range = {2, 2};
  const Augmentation fixed = fixed_augmentation(picture, subset);
  EXPECT_EQ(draw_augmentation(picture, subset, augmentation_stream(1, 0, 7)).offset, fixed.offset);
  EXPECT_EQ(fixed.resized, (PictureSize{213, 160}));
  EXPECT_FALSE(draws_crop(picture, subset));
  EXPECT_FALSE(draws_new_pictures(subset));
}

// A share of n draws: within four standard deviations.
void expect_share(int count, int n, double share) {
  EXPECT_NEAR(count, n * share, 4 * std::sqrt(n * share * (1 - share)));
}

TEST(DrawAugmentation, ChangesColoursAsOftenAndAsMuchAsSdScripts) {
  SubsetOptions subset;
  subset.color_aug = true;
  constexpr int kDraws = 20000;
  int hues = 0, gammas = 0;
  double least_hue = 0, most_hue = 0, least_gamma = 1, most_gamma = 1, sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const Augmentation drawn = draw_augmentation(kPicture, subset, augmentation_stream(1, 3, static_cast<uint64_t>(i)));
    EXPECT_EQ(drawn.offset, kPicture.choice.crop_offset());
    EXPECT_FALSE(drawn.is_mirrored);
    const double amount = drawn.colours.amount;
    if (drawn.colours.kind == Kind::kHue) {
      ++hues;
      sum += amount;
      least_hue = std::min(least_hue, amount);
      most_hue = std::max(most_hue, amount);
    } else if (drawn.colours.kind == Kind::kGamma) {
      ++gammas;
      least_gamma = std::min(least_gamma, amount);
      most_gamma = std::max(most_gamma, amount);
    }
  }
  expect_share(hues, kDraws, 0.165);
  expect_share(gammas, kDraws, 0.165);
  EXPECT_NEAR(least_hue, -8, 0.05);
  EXPECT_NEAR(most_hue, 8, 0.05);
  EXPECT_LE(most_hue, 8);
  EXPECT_NEAR(sum / hues, 0, 4 * (16 / std::sqrt(12.0)) / std::sqrt(hues));
  EXPECT_NEAR(least_gamma, 0.95, 1e-3);
  EXPECT_NEAR(most_gamma, 1.05, 1e-3);
}

TEST(DrawAugmentation, DependsOnSampleEpochAndSeedAlone) {
  SubsetOptions subset;
  subset.color_aug = true;
  const auto colours = [&](uint64_t seed, uint32_t epoch, uint64_t id) {
    return draw_augmentation(kPicture, subset, augmentation_stream(seed, epoch, id)).colours;
  };
  uint64_t changed = 0;
  while (colours(1, 0, changed).kind == Kind::kNone) ++changed;
  EXPECT_EQ(colours(1, 0, changed), colours(1, 0, changed));
  EXPECT_NE(colours(1, 0, changed), colours(1, 1, changed));
  EXPECT_NE(colours(1, 0, changed), colours(2, 0, changed));
  EXPECT_NE(colours(1, 0, changed), colours(1, 0, changed + 1));
}

// The levels of OpenCV 4.10, exactly.
TEST(ChangeColours, GivesTheLevelsOfSdScripts) {
  const GoldenJson golden = read_golden("augmentation/colours.json");
  const auto rgb_of = [](const GoldenJson& pixels) {
    Image image;
    image.reshape(static_cast<int>(pixels.size()), 1, 3);
    image.pixels.clear();
    for (const GoldenJson& pixel : pixels) {
      for (const GoldenJson& level : pixel) image.pixels.push_back(level.get<uint8_t>());
    }
    return image;
  };
  const Image before = rgb_of(golden["pixels"]);
  for (const GoldenJson& item : golden["cases"]) {
    const bool is_hue = item["kind"] == "hue";
    const ColourChange change = {is_hue ? Kind::kHue : Kind::kGamma, item["amount"].get<double>()};
    Image after = before;
    change_colours(after, change);
    EXPECT_EQ(after.pixels, rgb_of(item["pixels"]).pixels) << item["kind"] << " " << change.amount;
  }
}

TEST(ChangeColours, LeavesAlphaAlone) {
  Image image;
  image.reshape(2, 1, 4);
  image.pixels = {200, 100, 50, 7, 10, 20, 30, 255};
  const std::vector<uint8_t> before = image.pixels;
  change_colours(image, {});
  EXPECT_EQ(image.pixels, before);
  change_colours(image, {Kind::kGamma, 0.95});
  EXPECT_EQ(image.pixels[3], 7);
  EXPECT_EQ(image.pixels[7], 255);
  EXPECT_EQ(image.pixels[0], 153);  // 200 ^ 0.95 is 153.45
  change_colours(image, {Kind::kHue, 5});
  EXPECT_EQ(image.pixels[3], 7);
}

TEST(DrawsNewPictures, UnlessTheyAreOnlyMirrored) {
  SubsetOptions subset;
  subset.flip_aug = true;
  EXPECT_FALSE(draws_new_pictures(subset));
  subset.color_aug = true;
  EXPECT_TRUE(draws_new_pictures(subset));
}

}  // namespace
}  // namespace millrace
