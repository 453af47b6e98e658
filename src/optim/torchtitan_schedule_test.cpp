#include "optim/torchtitan_schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace millrace {
namespace {

TorchtitanSchedule make(int64_t steps, int64_t warmup, std::optional<double> decay_ratio,
                        DecayType type = DecayType::kLinear, double min_factor = 0) {
  return TorchtitanSchedule({steps, warmup, decay_ratio, type, min_factor});
}

TEST(TorchtitanScheduleTest, WarmsUpFromOneStepsWorth) {
  const TorchtitanSchedule schedule = make(100, 4, 0.0);
  EXPECT_EQ(schedule.factor(0), 0.25);
  EXPECT_EQ(schedule.factor(3), 1.0);
  EXPECT_EQ(schedule.factor(4), 1.0);
}

TEST(TorchtitanScheduleTest, WithoutDecayRatioEverythingAfterTheWarmupDecays) {
  const TorchtitanSchedule schedule = make(10, 2, std::nullopt);
  EXPECT_EQ(schedule.decay_steps(), 8);
  EXPECT_EQ(schedule.stable_steps(), 1);
  EXPECT_EQ(schedule.factor(2), 1.0);
  EXPECT_EQ(schedule.factor(3), 1 - 1.0 / 8);
  EXPECT_EQ(schedule.factor(9), 1 - 7.0 / 8);  // the last step that is taken moves the weights
  EXPECT_EQ(schedule.factor(10), 0);
}

TEST(TorchtitanScheduleTest, ARatioOfZeroNeverDecays) {
  const TorchtitanSchedule schedule = make(10, 0, 0.0);
  for (int64_t step = 0; step < 20; ++step) EXPECT_EQ(schedule.factor(step), 1);
}

TEST(TorchtitanScheduleTest, DecaysToTheMinimumAndStaysThere) {
  for (const DecayType type : {DecayType::kLinear, DecayType::kSqrt, DecayType::kCosine}) {
    const TorchtitanSchedule schedule = make(20, 0, 0.5, type, 0.1);
    EXPECT_EQ(schedule.factor(10), 1);
    EXPECT_LT(schedule.factor(11), 1);
    EXPECT_NEAR(schedule.factor(20), 0.1, 1e-15);
    EXPECT_NEAR(schedule.factor(500), 0.1, 1e-15);
  }
}

TEST(TorchtitanScheduleTest, CutsWhatIsLongerThanTheRun) {
  EXPECT_EQ(make(5, 9, std::nullopt).warmup_steps(), 5);
  EXPECT_EQ(make(5, 9, std::nullopt).factor(4), 1);
  EXPECT_EQ(make(10, 8, 0.5).decay_steps(), 2);
}

TEST(TorchtitanScheduleTest, RoundsHalvesToEvenAsPythonDoes) {
  EXPECT_EQ(make(5, 0, 0.5).decay_steps(), 2);
  EXPECT_EQ(make(7, 0, 0.5).decay_steps(), 4);
}

TEST(TorchtitanScheduleTest, RefusesWhatMakesNoSense) {
  EXPECT_THROW(make(10, -1, 0.0), ConfigError);
  EXPECT_THROW(make(10, 0, 1.5), ConfigError);
  EXPECT_THROW(make(10, 0, std::nan("")), ConfigError);
  EXPECT_THROW(make(10, 0, 0.5, DecayType::kLinear, -0.1), ConfigError);
  EXPECT_THROW(parse_decay_type("cosin"), ConfigError);
}

}  // namespace
}  // namespace millrace
