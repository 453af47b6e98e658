#include "kernels/philox_fill/philox_fill.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cpu_level.h"

namespace millrace {
namespace {

using torch::Tensor;

std::vector<RandomStream> some_streams(int64_t count) {
  std::vector<RandomStream> streams;
  for (int64_t i = 0; i < count; ++i) {
    streams.push_back(random_stream(42, RandomPurpose::kNoise, 7, 0x123456789ABCDEFu * (i + 1)));
  }
  return streams;
}

class PhiloxFillAtLevel : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override { force_cpu_level(GetParam()); }
  void TearDown() override { force_cpu_level(std::nullopt); }
};

// Sizes and starts around the edges of blocks, of vectors and of a thread's piece.
TEST_P(PhiloxFillAtLevel, GivesTheScalarFunctionsNumbersBitForBit) {
  const auto streams = some_streams(2);
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t n : {1, 3, 4, 63, 64, 65, 1000, 5001}) {
      for (const uint64_t first : {0ull, 1ull, 6ull, (1ull << 34) - 5001}) {
        const Tensor got = torch::empty({2, n}, type), expected = torch::empty({2, n}, type);
        philox_fill_normal(got, streams, first);
        philox_fill_normal_reference(expected, streams, first);
        ASSERT_TRUE(torch::equal(got, expected)) << "normal " << n << " from " << first;
        philox_fill_uniform(got, streams, first);
        philox_fill_uniform_reference(expected, streams, first);
        ASSERT_TRUE(torch::equal(got, expected)) << "uniform " << n << " from " << first;
      }
    }
  }
}

// Rare words (a uniform of 0, quadrant edges) come up among many numbers.
TEST_P(PhiloxFillAtLevel, AgreesOverAMillionNumbers) {
  const auto streams = some_streams(1);
  const Tensor got = torch::empty({1, 1 << 20}), expected = torch::empty_like(got);
  philox_fill_normal(got, streams);
  philox_fill_normal_reference(expected, streams);
  EXPECT_TRUE(torch::equal(got, expected));
  EXPECT_NEAR(got.mean().item<double>(), 0, 4e-3);
  EXPECT_NEAR(got.var().item<double>(), 1, 6e-3);
}

INSTANTIATE_TEST_SUITE_P(Levels, PhiloxFillAtLevel, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& test) { return std::string(cpu_level_name(test.param)); });

TEST(PhiloxFill, FillsSamplesThatLieApart) {
  const Tensor wide = torch::zeros({3, 10});
  philox_fill_uniform(wide.narrow(1, 2, 5), some_streams(3));
  const Tensor expected = torch::empty({3, 5});
  philox_fill_uniform(expected, some_streams(3));
  EXPECT_TRUE(torch::equal(wide.narrow(1, 2, 5), expected));
  EXPECT_EQ(wide.narrow(1, 0, 2).abs().sum().item<float>(), 0);
  EXPECT_EQ(wide.narrow(1, 7, 3).abs().sum().item<float>(), 0);
}

TEST(PhiloxFill, RefusesNumbersBeyondTheEndOfAStream) {
  const Tensor out = torch::empty({1, 8});
  EXPECT_THROW(philox_fill_uniform(out, some_streams(1), (uint64_t{1} << 34) - 7), LogicError);
}

}  // namespace
}  // namespace millrace
