#include "base/python_random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace millrace {
namespace {

struct Drawn {
  int64_t seed;
  double uniform[3];
  int64_t between[2];
  std::vector<int> shuffled;
  std::vector<size_t> few_of_many, few_of_few;
  uint64_t fifty_bits;
};

// As CPython 3.11.7 draws them, one after the other.
const Drawn kDrawn[] = {
    {0,
     {0.8444218515250481, 0.7579544029403025, 0.420571580830845},
     {1112038970, 2087043557},
     {9, 0, 3, 5, 1, 8, 2, 7, 4, 6},
     {773, 97, 633, 818, 256, 931},
     {17, 22, 25, 19, 4, 9},
     821717862223340},
    {7,
     {0.32383276483316237, 0.15084917392450192, 0.6509344730398537},
     {311111475, 404285457},
     {1, 2, 9, 4, 7, 6, 8, 3, 0, 5},
     {92, 564, 434, 60, 846, 579},
     {3, 7, 20, 27, 18, 1},
     659262778705103},
    {(int64_t{1} << 40) + 5,
     {0.5043802970418443, 0.2686044399723282, 0.9257865475671585},
     {200118061, 710650538},
     {0, 7, 8, 4, 9, 6, 5, 3, 2, 1},
     {751, 124, 802, 566, 235, 478},
     {29, 1, 3, 13, 28, 10},
     879351137936955},
};

TEST(PythonRandom, DrawsWhatPythonDraws) {
  for (const Drawn& drawn : kDrawn) {
    PythonRandom random(drawn.seed);
    for (const double value : drawn.uniform) EXPECT_EQ(random.uniform(), value);
    for (const int64_t value : drawn.between) EXPECT_EQ(random.between(0, int64_t{1} << 31), value);
    std::vector<int> items(10);
    std::iota(items.begin(), items.end(), 0);
    random.shuffle(items);
    EXPECT_EQ(items, drawn.shuffled);
    EXPECT_EQ(random.sample(1000, 6), drawn.few_of_many);
    EXPECT_EQ(random.sample(30, 6), drawn.few_of_few);
    EXPECT_EQ(random.bits(50), drawn.fifty_bits);
  }
}

TEST(PythonRandom, TakesASeedWithoutItsSign) {
  PythonRandom minus(-7), plus(7);
  EXPECT_EQ(minus.bits(64), plus.bits(64));
}

TEST(PythonRandom, RefillsItsState) {
  PythonRandom random(1);
  uint64_t last = 0;
  for (int i = 0; i < 2000; ++i) last = random.bits(32);
  EXPECT_EQ(last, 1058062369u);
}

TEST(PhiloxSource, ShufflesEveryItemOnce) {
  PhiloxSource random(random_stream(1, RandomPurpose::kShuffle, 0, 0));
  std::vector<int> items(100);
  std::iota(items.begin(), items.end(), 0);
  const std::vector<int> before = items;
  random.shuffle(items);
  EXPECT_NE(items, before);
  std::sort(items.begin(), items.end());
  EXPECT_EQ(items, before);
}

}  // namespace
}  // namespace millrace
