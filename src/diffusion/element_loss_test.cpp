#include "diffusion/element_loss.h"

#include <gtest/gtest.h>

#include <array>

#include "base/error.h"

namespace millrace {
namespace {

// As sd-scripts computes them in fp32.
constexpr std::array kTimesteps = {580.1834, 221.37296, 700.84106};

void expect_thresholds(HuberSchedule schedule, double huber_c, double scale, std::array<double, 3> expected) {
  for (size_t i = 0; i < kTimesteps.size(); ++i) {
    EXPECT_NEAR(huber_threshold(schedule, huber_c, scale, kTimesteps[i]), expected[i], 1e-6 * expected[i]);
  }
}

TEST(HuberThreshold, FollowsTheTimestep) {
  expect_thresholds(HuberSchedule::kConstant, 0.4, 2, {0.8, 0.8, 0.8});
  expect_thresholds(HuberSchedule::kExponential, 0.1, 1, {0.26291573, 0.6006577, 0.19914018});
  expect_thresholds(HuberSchedule::kExponential, 0.4, 2, {1.1753083, 1.6328145, 1.0522945});
}

TEST(ParseHuberSchedule, RefusesTheScheduleThatFluxLacks) {
  EXPECT_THROW(parse_huber_schedule("snr", "huber_schedule"), ConfigError);
  EXPECT_EQ(parse_huber_schedule("exponential", "huber_schedule"), HuberSchedule::kExponential);
  EXPECT_THROW(parse_loss_type("smoothl1", "loss_type"), ConfigError);
}

TEST(ElementLoss, HasTheDerivativeOfItsValue) {
  for (const LossType type : {LossType::kL2, LossType::kL1, LossType::kHuber, LossType::kSmoothL1}) {
    for (const double d : {-2.0, -0.05, 0.3, 1.5}) {
      const double h = 1e-6;
      const double slope = (element_loss(type, d + h, 0.2).value - element_loss(type, d - h, 0.2).value) / (2 * h);
      EXPECT_NEAR(element_loss(type, d, 0.2).derivative, slope, 1e-8);
    }
  }
  EXPECT_EQ(element_loss(LossType::kHuber, 0, 0).derivative, 0);
}

TEST(ElementLoss, IsNearlySquaredForSmallDifferencesAndNearlyLinearForLarge) {
  EXPECT_NEAR(element_loss(LossType::kHuber, 1e-4, 0.1).value, 1e-8, 1e-13);
  EXPECT_NEAR(element_loss(LossType::kSmoothL1, 100, 0.1).value, 2 * 100 - 2 * 0.1, 1e-3);
}

TEST(LossWeight, IsThatOfSdScripts) {
  constexpr std::array kSigmas = {0.01, 0.25, 0.5, 0.9, 1.0};
  constexpr std::array kSigmaSqrt = {10000.0, 16.0, 4.0, 1.234568, 1.0};
  constexpr std::array kCosmap = {0.64947945, 1.0185916, 1.2732395, 0.77636564, 0.63661975};
  for (size_t i = 0; i < kSigmas.size(); ++i) {
    EXPECT_NEAR(loss_weight(parse_loss_weighting("sigma_sqrt", "x"), kSigmas[i]), kSigmaSqrt[i], 1e-6 * kSigmaSqrt[i]);
    EXPECT_NEAR(loss_weight(parse_loss_weighting("cosmap", "x"), kSigmas[i]), kCosmap[i], 1e-6 * kCosmap[i]);
    EXPECT_EQ(loss_weight(parse_loss_weighting("mode", "x"), kSigmas[i]), 1);
  }
}

}  // namespace
}  // namespace millrace
