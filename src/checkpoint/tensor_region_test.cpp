#include "checkpoint/tensor_region.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace millrace {
namespace {

int64_t product(const std::vector<int64_t>& shape) {
  int64_t size = 1;
  for (const int64_t length : shape) size *= length;
  return size;
}

// The flat indices of a region's elements, in the order in which they lie in it; the slow and obvious way.
std::vector<int64_t> elements_of(const std::vector<int64_t>& tensor_shape, const TensorRegion& region) {
  std::vector<int64_t> elements;
  if (region.start.empty()) {
    for (int64_t i = 0; i < region.size; ++i) elements.push_back(region.offset + i);
    return elements;
  }
  for (int64_t flat = 0; flat < product(tensor_shape); ++flat) {
    bool inside = true;
    int64_t rest = flat;
    for (size_t dim = tensor_shape.size(); dim-- > 0; rest /= tensor_shape[dim]) {
      const int64_t index = rest % tensor_shape[dim] - region.start[dim];
      inside = inside && index >= 0 && index < region.shape[dim];
    }
    if (inside) elements.push_back(flat);
  }
  return elements;
}

TensorRegion random_region(const std::vector<int64_t>& tensor_shape, std::mt19937& random) {
  TensorRegion region;
  const auto up_to = [&](int64_t max) { return static_cast<int64_t>(random() % static_cast<uint64_t>(max + 1)); };
  if (random() % 2 == 0) {
    region.offset = up_to(product(tensor_shape));
    region.size = up_to(product(tensor_shape) - region.offset);
    return region;
  }
  for (const int64_t length : tensor_shape) {
    const bool whole = random() % 2 == 0;
    region.start.push_back(whole ? 0 : up_to(length - 1));
    region.shape.push_back(whole ? length : 1 + up_to(length - region.start.back() - 1));
  }
  region.size = product(region.shape);
  return region;
}

TEST(TensorRegionTest, CommonRunsAreTheCommonElementsForAnyTwoRegions) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 20000; ++trial) {
    std::vector<int64_t> shape(1 + random() % 4);
    for (int64_t& length : shape) length = 1 + static_cast<int64_t>(random() % 5);
    const TensorRegion a = random_region(shape, random), b = random_region(shape, random);
    const std::vector<int64_t> in_a = elements_of(shape, a), in_b = elements_of(shape, b);
    std::map<int64_t, int64_t> expected;  // place in a -> place in b
    for (size_t i = 0; i < in_a.size(); ++i) {
      const auto found = std::find(in_b.begin(), in_b.end(), in_a[i]);
      if (found != in_b.end()) expected[static_cast<int64_t>(i)] = found - in_b.begin();
    }
    std::map<int64_t, int64_t> got;
    for_each_common_run(shape, a, b, [&](const CommonRun& run) {
      ASSERT_GT(run.length, 0);
      for (int64_t i = 0; i < run.length; ++i) {
        EXPECT_TRUE(got.emplace(run.from_a + i, run.from_b + i).second) << "twice";
      }
    });
    ASSERT_EQ(got, expected) << ::testing::PrintToString(shape) << " trial " << trial;
    EXPECT_EQ(have_common_elements(shape, a, b), !expected.empty());
  }
}

TEST(TensorRegionTest, ABoxOfWholeRowsIsOneRun) {
  int runs = 0;
  for_each_common_run({8, 3, 5}, {0, 120, {}, {}}, {0, 60, {2, 0, 0}, {4, 3, 5}}, [&](const CommonRun& run) {
    ++runs;
    EXPECT_EQ(run.from_a, 30);
    EXPECT_EQ(run.from_b, 0);
    EXPECT_EQ(run.length, 60);
  });
  EXPECT_EQ(runs, 1);
}

TEST(TensorRegionTest, AScalarIsARunOfOne) {
  int runs = 0;
  for_each_common_run({}, {0, 1, {}, {}}, {0, 1, {}, {}}, [&](const CommonRun&) { ++runs; });
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace millrace
