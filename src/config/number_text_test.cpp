#include "config/number_text.h"

#include <gtest/gtest.h>

#include <random>

namespace millrace {
namespace {

TEST(NumberText, FloatingPointReadsBackEqual) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 10000; ++i) {
    const double mantissa = std::uniform_real_distribution<double>(-10, 10)(random);
    const double value = mantissa * std::pow(10.0, std::uniform_int_distribution<int>(-300, 300)(random));
    EXPECT_EQ(parse_floating_point(number_text(value)), value);
  }
}

TEST(NumberText, WholeFloatingPointKeepsItsPoint) {
  EXPECT_EQ(number_text(1.0), "1.0");
  EXPECT_EQ(number_text(-30.0), "-30.0");
  EXPECT_EQ(number_text(1e-8), "1e-08");
  EXPECT_EQ(number_text(0.1159), "0.1159");
}

TEST(NumberText, ReadsWhatPeopleWrite) {
  EXPECT_EQ(parse_integer("1_000"), 1000);
  EXPECT_EQ(parse_integer("+5"), 5);
  EXPECT_EQ(parse_integer("-1"), -1);
  EXPECT_EQ(parse_floating_point(".5"), 0.5);
  EXPECT_EQ(parse_floating_point("1e-4"), 1e-4);
}

TEST(NumberText, RefusesWhatIsNoNumber) {
  for (const char* text :
       {"", "+", "-", "1.5", "1e3", "ten", "1 ", " 1", "1__0", "_1", "1_", "++1", "0x10", "99999999999999999999"}) {
    EXPECT_EQ(parse_integer(text), std::nullopt) << text;
  }
  for (const char* text : {"", "e5", "1,5", "1.5x", "1_.5"})
    EXPECT_EQ(parse_floating_point(text), std::nullopt) << text;
}

}  // namespace
}  // namespace millrace
