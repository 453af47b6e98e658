// As lycoris-lora 4.1.3 divides layers.
#include "adapters/lokr_sizes.h"

#include <gtest/gtest.h>

#include <array>

namespace millrace {
namespace {

using Numbers = std::array<int64_t, 6>;  // rows, columns and rank of both matrices

Numbers divided(int64_t in, int64_t out, int64_t rank, std::optional<int64_t> factor, bool both) {
  const LokrSizes sizes = lokr_sizes(in, out, rank, factor, both);
  return {sizes.w1.rows, sizes.w1.columns, sizes.w1.rank, sizes.w2.rows, sizes.w2.columns, sizes.w2.rank};
}

TEST(LokrSizes, AreThoseOfLycoris) {
  EXPECT_EQ(divided(3072, 9216, 16, {}, false), (Numbers{96, 48, 0, 96, 64, 16}));
  EXPECT_EQ(divided(3072, 9216, 16, {}, true), (Numbers{96, 48, 16, 96, 64, 16}));
  EXPECT_EQ(divided(12288, 3072, 4, 8, false), (Numbers{8, 8, 0, 384, 1536, 4}));
  EXPECT_EQ(divided(3072, 21504, 1000, {}, true), (Numbers{128, 48, 0, 168, 64, 0})) << "too large a rank";
  EXPECT_EQ(divided(64, 64, 4, 16, false), (Numbers{4, 4, 0, 16, 16, 4})) << "a factor above the root";
  EXPECT_EQ(divided(64, 12, 1, 3, false), (Numbers{3, 2, 0, 4, 32, 1})) << "a factor that divides one of them";
  EXPECT_EQ(divided(7, 7, 1, {}, false), (Numbers{1, 1, 0, 7, 7, 1})) << "a prime";
}

}  // namespace
}  // namespace millrace
