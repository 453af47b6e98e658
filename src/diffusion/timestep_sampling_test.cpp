// The samplings of training times give what sd-scripts gives for the same random numbers.
#include "diffusion/timestep_sampling.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace millrace {
namespace {

constexpr std::array kNormals = {0.0, 3.5, -4.0, -0.19291413, -0.36257565, -2.8451076, 1.4435173, 0.49758393};
constexpr std::array kUniforms = {0.8772838, 0.0342291, 0.3993681,   0.7182756,
                                  0.8101652, 0.5009607, 0.055549264, 0.23256207};

struct Case {
  FlowObjectiveConfig objective;
  int64_t image_tokens;
  std::array<double, 8> times;
};

// get_noisy_model_input_and_timesteps() of sd-scripts 0.10.1, fp32, with these numbers in place of its own.
const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {{.timestep_sampling = TimestepSampling::kUniform},
       1024,
       {0.8772838, 0.0342291, 0.3993681, 0.7182756, 0.8101652, 0.5009607, 0.05554926, 0.23256207}},
      {{.timestep_sampling = TimestepSampling::kSigmoid, .sigmoid_scale = 1.0},
       1024,
       {0.5, 0.97068775, 0.01798621, 0.4519205, 0.4103362, 0.05493477, 0.8089987, 0.6218914}},
      {{.timestep_sampling = TimestepSampling::kSigmoid, .sigmoid_scale = 0.5},
       1024,
       {0.5, 0.85195273, 0.11920292, 0.4759044, 0.4548018, 0.19426154, 0.6729942, 0.5618791}},
      {{.timestep_sampling = TimestepSampling::kSigmoid, .sigmoid_scale = 2.0},
       1024,
       {0.5, 0.999089, 0.00033535, 0.404722, 0.32625964, 0.00336749, 0.9472017, 0.7301075}},
      {{.timestep_sampling = TimestepSampling::kShift, .discrete_flow_shift = 1.0},
       1024,
       {0.5, 0.97068775, 0.01798621, 0.4519205, 0.4103362, 0.05493477, 0.8089987, 0.6218914}},
      {{.timestep_sampling = TimestepSampling::kShift, .discrete_flow_shift = 3.0},
       1024,
       {0.75, 0.99003446, 0.052085, 0.7121191, 0.6761285, 0.1484898, 0.927043, 0.8314861}},
      {{.timestep_sampling = TimestepSampling::kShift, .discrete_flow_shift = 3.1582},
       1024,
       {0.7595113, 0.990529, 0.05468143, 0.7225385, 0.6872785, 0.15510562, 0.93044335, 0.8385646}},
      {{.timestep_sampling = TimestepSampling::kShift, .discrete_flow_shift = 6.0},
       1024,
       {0.85714287, 0.99499226, 0.09901293, 0.83185697, 0.806774, 0.25858268, 0.9621405, 0.9079906}},
      {{.timestep_sampling = TimestepSampling::kFluxShift},
       1024,
       {0.6524894, 0.9841716, 0.03324631, 0.60756445, 0.56646043, 0.098402, 0.8883024, 0.75539273}},
      {{.timestep_sampling = TimestepSampling::kFluxShift},
       4096,
       {0.75951093, 0.99052894, 0.05468132, 0.72253793, 0.68727803, 0.15510532, 0.93044317, 0.8385642}},
      {{.timestep_sampling = TimestepSampling::kFluxShift},
       3840,
       {0.75150716, 0.9901137, 0.05248411, 0.7137674, 0.6778898, 0.14951107, 0.9275859, 0.8326116}},
      {{.timestep_sampling = TimestepSampling::kFluxShift, .sigmoid_scale = 1.5},
       1024,
       {0.6524894, 0.997213, 0.00463257, 0.58434325, 0.5215208, 0.02563915, 0.94242, 0.79840827}},
      {{.timestep_sampling = TimestepSampling::kSigma},
       1024,
       {0.29614767, 0.98840374, 0.81880105, 0.54092073, 0.41304347, 0.75, 0.9809689, 0.9085173}},
      {{.timestep_sampling = TimestepSampling::kSigma, .weighting_scheme = WeightingScheme::kLogitNormal},
       1024,
       {0.75, 0.08490566, 0.9942683, 0.7850334, 0.81192666, 0.9813278, 0.41618493, 0.6467577}},
      {{.timestep_sampling = TimestepSampling::kSigma, .weighting_scheme = WeightingScheme::kMode},
       1024,
       {0.9080506, 0.19565219, 0.72760046, 0.8131868, 0.86278665, 0.7507493, 0.28640777, 0.63594466}},
      {{.timestep_sampling = TimestepSampling::kSigma,
        .weighting_scheme = WeightingScheme::kLogitNormal,
        .logit_mean = 0.5,
        .logit_std = 0.8},
       1024,
       {0.6457858, 0.10074626, 0.9784424, 0.6803279, 0.7088608, 0.9469027, 0.3653555, 0.55063295}},
      {{.timestep_sampling = TimestepSampling::kSigma, .weighting_scheme = WeightingScheme::kMode, .mode_scale = 0.8},
       1024,
       {0.92704356, 0.16071428, 0.7055085, 0.84210527, 0.8892509, 0.7507493, 0.23737375, 0.5820073}},
  };
  return all;
}

// The same with the offset of a subset (sd-scripts after 0.11.1): in fp32, by torch.
TEST(TimestepSampling, AnOffsetIsAddedToTheNormalNumber) {
  using Sampling = TimestepSampling;
  struct Offset {
    double offset;
    Case expected;
  };
  const std::vector<Offset> offsets = {
      {-0.5,
       {{.timestep_sampling = Sampling::kSigmoid},
        1024,
        {0.37754068, 0.95257413, 0.01098694, 0.33338514, 0.29680148, 0.03405574, 0.71980959, 0.499396}}},
      {0.5,
       {{.timestep_sampling = Sampling::kSigmoid, .sigmoid_scale = 2.0},
        1024,
        {0.7310586, 0.99966466, 0.00091105, 0.64889187, 0.56828284, 0.00910112, 0.97990602, 0.88028878}}},
      {0.5,
       {{.timestep_sampling = Sampling::kShift, .discrete_flow_shift = 3.0},
        1024,
        {0.8318243, 0.99393189, 0.08306693, 0.80308664, 0.77487338, 0.2233074, 0.95444149, 0.89053297}}},
      {-0.25,
       {{.timestep_sampling = Sampling::kFluxShift},
        1024,
        {0.59387314, 0.97976691, 0.02608407, 0.54663551, 0.50435603, 0.07834075, 0.8609876, 0.7063213}}},
  };
  for (const auto& [offset, expected] : offsets) {
    EXPECT_TRUE(reads_offset(expected.objective.timestep_sampling));
    for (size_t i = 0; i < kNormals.size(); ++i) {
      const double got = sample_time(expected.objective, {kUniforms[i], kNormals[i]}, expected.image_tokens, offset);
      EXPECT_NEAR(got, expected.times[i], 1e-6) << offset << ", " << i;
    }
  }
  for (const Sampling sampling : {Sampling::kUniform, Sampling::kSigma}) {
    const FlowObjectiveConfig objective{.timestep_sampling = sampling};
    EXPECT_FALSE(reads_offset(sampling));
    EXPECT_EQ(sample_time(objective, {0.3, 1}, 64, 0.5), sample_time(objective, {0.3, 1}, 64));
  }
}

TEST(TimestepSampling, GivesWhatSdScriptsGives) {
  for (const Case& c : cases()) {
    for (size_t i = 0; i < c.times.size(); ++i) {
      const double got = sample_time(c.objective, {kUniforms[i], kNormals[i]}, c.image_tokens);
      EXPECT_NEAR(got, c.times[i], 2e-6) << choice_text(c.objective.timestep_sampling) << ", number " << i;
    }
  }
}

TEST(TimestepSampling, UniformTimesAreThoseOfTheStreamItself) {
  const std::vector<RandomStream> streams = {random_stream(1, RandomPurpose::kTimestep, 0, 7),
                                             random_stream(1, RandomPurpose::kTimestep, 2, 8)};
  const std::vector<float> times = sample_times({}, streams, 64);
  EXPECT_EQ(times, (std::vector<float>{random_uniform(streams[0], 0), random_uniform(streams[1], 0)}));
}

TEST(TimestepSampling, ModeStaysWithinTheTable) {
  const FlowObjectiveConfig objective{.timestep_sampling = TimestepSampling::kSigma,
                                      .discrete_flow_shift = 1,
                                      .weighting_scheme = WeightingScheme::kMode,
                                      .mode_scale = 20};
  for (const double u : {0.0, 0.1, 0.5, 0.9, 0.999999}) {
    const double t = sample_time(objective, {.uniform = u}, 64);
    EXPECT_GT(t, 0) << u;
    EXPECT_LE(t, 1) << u;
  }
}

TEST(TimestepSampling, WhatASamplingDoesNotReadIsRefused) {
  const auto problems = [](const FlowObjectiveConfig& objective) {
    Problems found;
    check_flow_objective(objective, found);
    return !found.empty();
  };
  using enum TimestepSampling;
  EXPECT_TRUE(problems({.timestep_sampling = kUniform, .sigmoid_scale = 2}));
  EXPECT_TRUE(problems({.timestep_sampling = kFluxShift, .discrete_flow_shift = 2}));
  EXPECT_TRUE(problems({.timestep_sampling = kShift, .weighting_scheme = WeightingScheme::kMode}));
  EXPECT_TRUE(problems({.timestep_sampling = kSigma, .logit_mean = 1}));
  EXPECT_TRUE(problems({.timestep_sampling = kSigma, .mode_scale = 1}));
  EXPECT_FALSE(problems({.timestep_sampling = kShift, .sigmoid_scale = 2, .discrete_flow_shift = 2}));
  EXPECT_FALSE(problems({.timestep_sampling = kSigma,
                         .weighting_scheme = WeightingScheme::kLogitNormal,
                         .logit_mean = 1,
                         .logit_std = 2}));
}

}  // namespace
}  // namespace millrace
