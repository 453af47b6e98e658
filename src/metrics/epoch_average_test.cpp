#include "metrics/epoch_average.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"

namespace millrace {
namespace {

double loss_of(int step) {
  return 1.0 + std::sin(step) / 3;
}

TEST(EpochAverage, IsTheMeanOfTheLastEpochsSteps) {
  EpochAverage average(3);
  EXPECT_TRUE(std::isnan(average.value()));
  for (int step = 0; step < 10; ++step) {
    average.add(loss_of(step));
    double sum = 0;
    const int first = std::max(0, step - 2);
    for (int i = first; i <= step; ++i) sum += loss_of(i);
    EXPECT_NEAR(average.value(), sum / (step - first + 1), 1e-14) << step;
  }
}

TEST(EpochAverage, WithoutEpochsItIsOfAllSteps) {
  EpochAverage average;
  for (int step = 1; step <= 4; ++step) average.add(step);
  EXPECT_EQ(average.value(), 2.5);
}

TEST(EpochAverage, StepsWithoutALossDoNotCount) {
  EpochAverage average(2);
  average.add(1);
  average.add(std::numeric_limits<double>::quiet_NaN());
  average.add(3);
  EXPECT_EQ(average.value(), 2);
  average.add(5);
  EXPECT_EQ(average.value(), 4);
}

TEST(EpochAverage, GoesOnWithTheSameBitsWhereItIsRestored) {
  for (const int64_t steps_per_epoch : {0, 4, 100}) {
    EpochAverage whole(steps_per_epoch), before(steps_per_epoch), after(steps_per_epoch);
    for (int step = 0; step < 9; ++step) {
      whole.add(loss_of(step));
      before.add(loss_of(step));
    }
    after.restore(before.state());
    for (int step = 9; step < 20; ++step) {
      EXPECT_EQ(after.value(), whole.value()) << step;
      whole.add(loss_of(step));
      after.add(loss_of(step));
    }
  }
}

TEST(EpochAverage, AnotherLengthOfTheEpochTakesWhatIsThere) {
  EpochAverage before(4), shorter(2), unknown, known(2);
  for (int step = 1; step <= 6; ++step) before.add(step);
  shorter.restore(before.state());
  EXPECT_EQ(shorter.value(), 5.5);
  unknown.add(8);
  known.restore(unknown.state());
  EXPECT_TRUE(std::isnan(known.value()));
  EXPECT_THROW(known.restore("{}"), StorageError);
}

}  // namespace
}  // namespace millrace
