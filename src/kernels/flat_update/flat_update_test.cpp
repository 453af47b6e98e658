#include "kernels/flat_update/flat_update.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/flat_update/flat_update_cases.h"
#include "kernels/op_check.h"

namespace millrace {
namespace {

using torch::Tensor;

// A last-bit difference for every operation of the longest formula.
constexpr double kTolerance = 1e-6;

class FlatUpdateAtLevel : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override { force_cpu_level(GetParam()); }
  void TearDown() override { force_cpu_level(std::nullopt); }
};

TEST_P(FlatUpdateAtLevel, EveryRuleIsThatOfItsReference) {
  for (const FlatUpdateCase& rule : flat_update_cases()) {
    FlatUpdateBuffers fused = rule.buffers(10007, torch::kFloat32);
    fused.model_copy = fused.param.to(torch::kBFloat16);
    fused.average = fused.param.clone();
    const FlatUpdateBuffers reference = copy_of(fused);
    const FlatUpdateOptions options{.average_decay = 0.9};
    const Tensor clip = torch::tensor({0.37f});
    const Tensor sums = rule.new_sums(), reference_sums = rule.new_sums();
    for (int step = 0; step < 3; ++step) {
      flat_update(rule.rule, rule.numbers, fused, options, clip, sums);
      flat_update_reference(rule.rule, rule.numbers, reference, options, clip, reference_sums);
    }
    EXPECT_LE(relative_error(fused.param, reference.param), kTolerance) << name_of(rule.rule);
    EXPECT_LE(relative_error(fused.average, reference.average), kTolerance) << name_of(rule.rule);
    for (size_t i = 0; i < fused.states.size(); ++i) {
      EXPECT_LE(relative_error(fused.states[i], reference.states[i]), kTolerance) << name_of(rule.rule) << " " << i;
    }
    EXPECT_TRUE(torch::equal(fused.model_copy, fused.param.to(torch::kBFloat16))) << name_of(rule.rule);
    EXPECT_TRUE(torch::equal(fused.grad, reference.grad)) << name_of(rule.rule);
    if (sums.defined()) {
      EXPECT_LE(relative_error(sums, reference_sums), kTolerance) << name_of(rule.rule);
    }
  }
}

TEST_P(FlatUpdateAtLevel, Bf16WeightsRoundedToNearestAreThoseOfTheReferenceUpToTies) {
  for (const FlatUpdateCase& rule : flat_update_cases()) {
    const FlatUpdateBuffers fused = rule.buffers(4099, torch::kBFloat16), reference = copy_of(fused);
    const FlatUpdateOptions options{.stochastic_rounding = false};
    flat_update(rule.rule, rule.numbers, fused, options, {}, rule.new_sums());
    flat_update_reference(rule.rule, rule.numbers, reference, options, {}, rule.new_sums());
    EXPECT_LE(torch::ne(fused.param, reference.param).sum().item<int64_t>(), 4) << name_of(rule.rule);
    EXPECT_LE(relative_error(fused.param, reference.param), 1e-3) << name_of(rule.rule);
  }
}

TEST_P(FlatUpdateAtLevel, ShardsGiveTheNumbersOfTheWholeBuffer) {
  for (const FlatUpdateCase& rule : flat_update_cases()) {
    const FlatUpdateBuffers whole = rule.buffers(1000, torch::kBFloat16), parts = copy_of(whole);
    const FlatUpdateOptions options{.seed = 5};
    const Tensor sums = rule.new_sums(), part_sums = rule.new_sums();
    flat_update(rule.rule, rule.numbers, whole, options, {}, sums);
    int64_t begin = 0;
    for (const int64_t size : {1, 250, 8, 3, 738}) {
      flat_update(rule.rule, rule.numbers, part_of(parts, begin, size), options, {}, part_sums);
      begin += size;
    }
    EXPECT_EQ(begin, 1000);
    EXPECT_TRUE(torch::equal(parts.param, whole.param)) << name_of(rule.rule);
    for (size_t i = 0; i < whole.states.size(); ++i) {
      EXPECT_TRUE(torch::equal(parts.states[i], whole.states[i])) << name_of(rule.rule);
    }
    if (sums.defined()) {
      EXPECT_LE(relative_error(part_sums, sums), kTolerance) << name_of(rule.rule);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, FlatUpdateAtLevel, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& test) { return std::string(cpu_level_name(test.param)); });

TEST(FlatUpdate, TheThreadCountChangesNothing) {
  for (const FlatUpdateCase& rule : flat_update_cases()) {
    const FlatUpdateBuffers one = rule.buffers(50001, torch::kBFloat16), three = copy_of(one);
    const Tensor one_sums = rule.new_sums(), three_sums = rule.new_sums();
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    flat_update(rule.rule, rule.numbers, one, {}, {}, one_sums);
    at::set_num_threads(3);
    flat_update(rule.rule, rule.numbers, three, {}, {}, three_sums);
    at::set_num_threads(threads);
    EXPECT_TRUE(torch::equal(one.param, three.param)) << name_of(rule.rule);
    if (one_sums.defined()) {
      EXPECT_TRUE(torch::equal(one_sums, three_sums));
    }
  }
}

// Lion's step has one size whatever the gradient's; where nothing pulls, nothing moves.
TEST(FlatUpdate, LionTakesNoStepWhereTheAverageAndTheGradientAreZero) {
  FlatUpdateBuffers buffers{.param = torch::ones({40}), .grad = torch::zeros({40}), .states = {torch::zeros({40})}};
  buffers.grad[7] = 1e-20f;
  buffers.grad[8] = -3;
  flat_update(FlatRule::kLion, {.step_size = 0.25, .beta1 = 0.9, .one_minus_beta1 = 0.1}, buffers, {});
  EXPECT_EQ(buffers.param[0].item<float>(), 1);
  EXPECT_EQ(buffers.param[7].item<float>(), 0.75);
  EXPECT_EQ(buffers.param[8].item<float>(), 1.25);
}

TEST(FlatUpdate, RefusesBuffersThatDoNotMatch) {
  FlatUpdateBuffers buffers{.param = torch::ones({40}), .grad = torch::zeros({40}), .states = {torch::zeros({39})}};
  EXPECT_THROW(flat_update(FlatRule::kLion, {}, buffers, {}), LogicError);
  buffers.states = {};
  EXPECT_THROW(flat_update(FlatRule::kLion, {}, buffers, {}), LogicError);
}

}  // namespace
}  // namespace millrace
