#include "picture_sets/face_crop.h"

#include <gtest/gtest.h>

#include "picture_sets/golden_test_support.h"

namespace millrace {
namespace {

PictureSize size_of(const GoldenJson& pair) {
  return {pair[0].get<int64_t>(), pair[1].get<int64_t>()};
}

TEST(FaceInName, IsItsLastFourNumbers) {
  const std::optional<Face> face = face_in_name("faces_1_2_3_4/anna_at home_512_300_120_140.png");
  ASSERT_TRUE(face.has_value());
  EXPECT_EQ(face->x, 512);
  EXPECT_EQ(face->y, 300);
  EXPECT_EQ(face->width, 120);
  EXPECT_EQ(face->height, 140);
  for (const char* name :
       {"512_300_120_140.png", "anna_512_300_120.png", "anna_512_300_120_x.png", "anna_0_300_120_140.png",
        "anna_512_300_0_0.png", "anna.png", "anna_512_300_1e2_140.png", "anna_99999999999999_300_120_140.png", ""}) {
    EXPECT_FALSE(face_in_name(name).has_value()) << name;
  }
}

TEST(FaceCrop, IsThatOfSdScripts) {
  const GoldenJson golden = read_golden("augmentation/face_crops.json");
  ASSERT_GE(golden["cases"].size(), 100u);
  for (const GoldenJson& item : golden["cases"]) {
    const GoldenJson& numbers = item["face"];
    const Face face = {numbers[0], numbers[1], numbers[2], numbers[3]};
    const FaceCropRules rules = {.picture = size_of(item["picture"]),
                                 .crop = size_of(item["crop"]),
                                 .range = {item["range"][0], item["range"][1]},
                                 .random_crop = item["random_crop"]};
    FaceDraws draws{.scale = item["numbers"][0]};
    for (size_t i = 0; i < draws.shifts.size(); ++i) draws.shifts[i] = item["numbers"][i + 1];
    const ScaledCrop crop = draw_face_crop(face, rules, draws);
    EXPECT_EQ(crop.resized, size_of(item["resized"])) << item;
    EXPECT_EQ(crop.offset, size_of(item["offset"])) << item;
  }
}

TEST(FaceCrop, WithoutDrawsHasTheFaceInTheMiddle) {
  const Face face = {.x = 1000, .y = 800, .width = 200, .height = 100};
  FaceCropRules rules = {.picture = {2000, 1600}, .crop = {512, 512}, .range = {2, 4}};
  const ScaledCrop crop = middle_face_crop(face, rules);  // between 0.64 and 1
  EXPECT_EQ(crop.resized, (PictureSize{1640, 1312}));
  EXPECT_EQ(crop.offset, (PictureSize{820 - 256, 656 - 256}));
  rules.range = {4, 4};
  EXPECT_EQ(middle_face_crop(face, rules).resized, (PictureSize{1280, 1024}));
}

TEST(FaceCrop, CoversItsSizeFromASmallerPicture) {
  const Face face = {.x = 90, .y = 10, .width = 20, .height = 20};
  const FaceCropRules rules = {.picture = {100, 60}, .crop = {128, 128}, .range = {1, 3}};
  for (const double number : {0.0, 0.5, 0.999}) {
    const ScaledCrop crop = draw_face_crop(face, rules, {number, {number, number, number, number}});
    EXPECT_EQ(crop.resized, (PictureSize{213, 128}));
    EXPECT_EQ(crop.offset.height, 0);
    EXPECT_LE(crop.offset.width, 213 - 128);
  }
}

}  // namespace
}  // namespace millrace
