#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "prepare/centre_square.h"
#include "prepare/coco_table.h"
#include "prepare/numpy_shuffle.h"
#include "prepare/webdataset_fields.h"

namespace millrace {
namespace {

using testing::ElementsAre;

TEST(NumpyPermutation, IsNumpys) {
  // numpy.random.RandomState(seed).permutation(n)
  EXPECT_THAT(numpy_permutation(2023, 10), ElementsAre(8, 2, 5, 0, 3, 4, 1, 9, 6, 7));
  EXPECT_THAT(numpy_permutation(0, 5), ElementsAre(2, 0, 1, 3, 4));
  EXPECT_THAT(numpy_permutation(1, 1), ElementsAre(0));
  EXPECT_TRUE(numpy_permutation(1, 0).empty());
}

TEST(CentreGeometry, RoundsAsTorchvision) {
  const auto check = [](int width, int height, CentreGeometry expected) {
    const CentreGeometry got = centre_geometry(width, height, 256);
    EXPECT_EQ(got.width, expected.width) << width << " x " << height;
    EXPECT_EQ(got.height, expected.height);
    EXPECT_EQ(got.square.left, expected.square.left);
    EXPECT_EQ(got.square.top, expected.square.top);
  };
  check(256, 256, {256, 256, {0, 0, 256, 256}});
  check(300, 280, {274, 256, {9, 0, 256, 256}});
  check(512, 513, {256, 256, {0, 0, 256, 256}});
  check(256, 257, {256, 257, {0, 0, 256, 256}});  // round(0.5) is 0
  check(256, 259, {256, 259, {0, 2, 256, 256}});  // round(1.5) is 2
  check(261, 256, {261, 256, {2, 0, 256, 256}});  // round(2.5) is 2
  check(1000, 333, {768, 256, {256, 0, 256, 256}});
}

TEST(TidyCaption, IsPythons) {
  EXPECT_EQ(tidy_caption("a\nb \n"), "ab");
  EXPECT_EQ(tidy_caption("\xC2\xA0\xE3\x80\x80\t x y\x1C\xC2\x85"), "x y");
  EXPECT_EQ(tidy_caption(" \n "), "");
  EXPECT_EQ(tidy_caption("\xE2\x80\x8B"
                         "a"),
            "\xE2\x80\x8B"
            "a")
      << "a zero-width space is not a space";
}

TEST(SampleName, IsThatOfDatasets) {
  for (const char* name : {"000.jpg", "c.d.txt", "_a.png"}) EXPECT_TRUE(is_sample_name(name)) << name;
  for (const char* name : {".hidden", "__init__.py", "._000.jpg"}) EXPECT_FALSE(is_sample_name(name)) << name;
}

TEST(FieldKind, GoesByTheLastExtension) {
  EXPECT_EQ(field_kind("jpg"), FieldKind::kImage);
  EXPECT_EQ(field_kind("seg.PNG"), FieldKind::kImage);
  EXPECT_EQ(field_kind("txt"), FieldKind::kText);
  EXPECT_EQ(field_kind("json"), FieldKind::kJson);
  EXPECT_EQ(field_kind("cls"), FieldKind::kInteger);
  EXPECT_EQ(field_kind("t5.bytes"), FieldKind::kBytes);
  EXPECT_EQ(field_kind("npy"), FieldKind::kUnsupported);
}

}  // namespace
}  // namespace millrace
