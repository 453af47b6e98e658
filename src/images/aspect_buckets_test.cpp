// Against sd-scripts' own lists and choices: picture_sets/picture_set_test.cpp.
#include "images/aspect_buckets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace millrace {
namespace {

BucketRules rules_of(int64_t resolution, int64_t min, int64_t max, int64_t steps) {
  BucketRules rules{.resolution = {resolution, resolution}, .enable_bucket = true};
  rules.min_bucket_reso = min;
  rules.max_bucket_reso = max;
  rules.bucket_reso_steps = steps;
  return rules;
}

TEST(AspectBuckets, HaveAboutTheAreaOfTheResolution) {
  const std::vector<PictureSize> sizes = bucket_resolutions(rules_of(1024, 256, 1536, 128));
  EXPECT_EQ(sizes.size(), 15u);
  EXPECT_THAT(sizes, testing::IsSupersetOf({PictureSize{256, 1536}, PictureSize{640, 1408}, PictureSize{640, 1536},
                                            PictureSize{1024, 1024}, PictureSize{1280, 768}}));
}

TEST(AspectBuckets, CoverEveryPicture) {
  const BucketSelector selector(rules_of(512, 128, 1024, 16));
  for (const PictureSize size : {PictureSize{1, 5000}, {5000, 1}, {512, 512}, {700, 300}, {17, 18}}) {
    const std::optional<BucketChoice> choice = selector.select(size);
    ASSERT_TRUE(choice);
    EXPECT_GE(choice->resized.width, choice->bucket.width);
    EXPECT_GE(choice->resized.height, choice->bucket.height);
    EXPECT_TRUE(choice->resized.width == choice->bucket.width || choice->resized.height == choice->bucket.height);
  }
}

TEST(AspectBuckets, AreOneSizeWithoutBuckets) {
  const BucketSelector selector({.resolution = {640, 960}});
  EXPECT_EQ(selector.select({100, 100})->bucket, (PictureSize{640, 960}));
}

TEST(AspectBuckets, RefuseLimitsThatLeaveTheResolutionOut) {
  BucketRules small = rules_of(192, 256, 1024, 64), large = rules_of(1280, 256, 1024, 64),
              zero = rules_of(512, 256, 1024, 0);
  EXPECT_THROW(adjust_bucket_limits(small, "x"), ConfigError);
  EXPECT_THROW(adjust_bucket_limits(large, "x"), ConfigError);
  EXPECT_THROW(adjust_bucket_limits(zero, "x"), ConfigError);
  BucketRules rounded = rules_of(1000, 300, 1000, 128);
  adjust_bucket_limits(rounded, "x");
  EXPECT_EQ(rounded.min_bucket_reso, 256);
  EXPECT_EQ(rounded.max_bucket_reso, 1024);
}

}  // namespace
}  // namespace millrace
