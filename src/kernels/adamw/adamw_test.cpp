#include "kernels/adamw/adamw.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/adamw/adamw_raw.h"
#include "kernels/cpu_level.h"
#include "kernels/op_check.h"
#include "kernels/philox_fill/philox_fill.h"

namespace millrace {
namespace {

using torch::Tensor;

Tensor normal(int64_t n, uint64_t id, torch::ScalarType type = torch::kFloat32) {
  const Tensor x = torch::empty({1, n});
  philox_fill_normal(x, {random_stream(11, RandomPurpose::kInit, 0, id)});
  return x.view({-1}).to(type);
}

AdamWBuffers make_buffers(int64_t n, torch::ScalarType param, torch::ScalarType grad, torch::ScalarType moments) {
  AdamWBuffers buffers;
  buffers.param = normal(n, 1, param);
  buffers.grad = normal(n, 2, grad);
  buffers.exp_avg = (normal(n, 3) * 0.1).to(moments);
  buffers.exp_avg_sq = normal(n, 4).square().to(moments);
  return buffers;
}

AdamWBuffers copy_of(const AdamWBuffers& buffers) {
  AdamWBuffers copy = buffers;
  for (Tensor* x : {&copy.param, &copy.grad, &copy.exp_avg, &copy.exp_avg_sq, &copy.model_copy, &copy.ema}) {
    if (x->defined()) *x = x->clone();
  }
  return copy;
}

class AdamWAtLevel : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override { force_cpu_level(GetParam()); }
  void TearDown() override { force_cpu_level(std::nullopt); }
};

TEST_P(AdamWAtLevel, Fp32StepsAreThoseOfTheReference) {
  AdamWBuffers fused = make_buffers(10007, torch::kFloat32, torch::kFloat32, torch::kFloat32);
  fused.model_copy = torch::empty({10007}, torch::kBFloat16);
  fused.ema = fused.param.clone();
  AdamWBuffers reference = copy_of(fused);
  AdamWOptions options{.lr = 1e-2, .ema_decay = 0.9};
  const Tensor clip = torch::tensor({0.37f});
  for (options.step = 1; options.step <= 3; ++options.step) {
    adamw_step(fused, options, clip);
    adamw_step_reference(reference, options, clip);
  }
  EXPECT_LE(relative_error(fused.param, reference.param), 1e-7);
  EXPECT_LE(relative_error(fused.exp_avg, reference.exp_avg), 1e-7);
  EXPECT_LE(relative_error(fused.exp_avg_sq, reference.exp_avg_sq), 1e-7);
  EXPECT_LE(relative_error(fused.ema, reference.ema), 1e-7);
  EXPECT_TRUE(torch::equal(fused.model_copy, fused.param.to(torch::kBFloat16)));
  EXPECT_TRUE(torch::equal(fused.grad, reference.grad));
}

TEST_P(AdamWAtLevel, Bf16RoundedToNearestIsThatOfTheReferenceUpToTies) {
  for (const auto grad : {torch::kFloat32, torch::kBFloat16}) {
    for (const auto moments : {torch::kFloat32, torch::kBFloat16}) {
      const AdamWBuffers fused = make_buffers(4099, torch::kBFloat16, grad, moments);
      const AdamWBuffers reference = copy_of(fused);
      const AdamWOptions options{.lr = 1e-2, .stochastic_rounding = false, .zero_grad = true};
      adamw_step(fused, options);
      adamw_step_reference(reference, options);
      // A last-bit difference in fp32 may fall on the other side of a tie: a few of thousands.
      EXPECT_LE(torch::ne(fused.param, reference.param).sum().item<int64_t>(), 4);
      EXPECT_LE(relative_error(fused.param, reference.param), 1e-3);
      EXPECT_LE(torch::ne(fused.exp_avg_sq, reference.exp_avg_sq).sum().item<int64_t>(),
                moments == torch::kBFloat16 ? 4 : 4099);
      EXPECT_LE(relative_error(fused.exp_avg_sq, reference.exp_avg_sq), 1e-3);
      EXPECT_EQ(torch::count_nonzero(fused.grad).item<int64_t>(), 0);
    }
  }
}

// Every rounding takes one of the two neighbours, and over many seeds the mean is the number itself.
TEST_P(AdamWAtLevel, StochasticRoundingIsUnbiased) {
  constexpr int64_t kSize = 1003, kSeeds = 400;
  const AdamWBuffers start = make_buffers(kSize, torch::kBFloat16, torch::kFloat32, torch::kBFloat16);
  AdamWBuffers exact = copy_of(start);
  for (Tensor* x : {&exact.param, &exact.exp_avg, &exact.exp_avg_sq}) *x = x->to(torch::kFloat32);
  AdamWOptions options{.lr = 1e-4};
  adamw_step(exact, options);

  Tensor exp_avg_sum = torch::zeros({kSize}, torch::kFloat64), param_sum = exp_avg_sum.clone();
  for (int64_t seed = 0; seed < kSeeds; ++seed) {
    const AdamWBuffers rounded = copy_of(start);
    options.seed = static_cast<uint64_t>(seed);
    adamw_step(rounded, options);
    exp_avg_sum += rounded.exp_avg.to(torch::kFloat64);
    param_sum += rounded.param.to(torch::kFloat64);
    const Tensor error = (rounded.exp_avg.to(torch::kFloat64) - exact.exp_avg.to(torch::kFloat64)).abs();
    EXPECT_TRUE(torch::all(error <= exact.exp_avg.abs().to(torch::kFloat64) * 0x1p-7).item<bool>());
  }
  // Rounding errors are below 2^-7 |x|: their mean over seeds and elements is far smaller than one of them.
  const double mean_error = ((exp_avg_sum / kSeeds - exact.exp_avg) / exact.exp_avg).mean().item<double>();
  EXPECT_LE(std::abs(mean_error), 0x1p-7 * 4 / std::sqrt(12.0 * kSize * kSeeds));
  const Tensor update = exact.param - start.param.to(torch::kFloat32);
  const double mean_param_error = ((param_sum / kSeeds - exact.param) / exact.param).mean().item<double>();
  EXPECT_LE(std::abs(mean_param_error), 0x1p-7 * 4 / std::sqrt(12.0 * kSize * kSeeds));
  EXPECT_GT((update / exact.param).abs().mean().item<double>(), 1e-5);  // there was something to lose
}

TEST_P(AdamWAtLevel, ShardsGiveTheNumbersOfTheWholeBuffer) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const AdamWBuffers whole = make_buffers(1000, type, type, type);
    const AdamWBuffers parts = copy_of(whole);
    const AdamWOptions options{.lr = 1e-2, .seed = 5};
    adamw_step(whole, options);
    int64_t begin = 0;
    for (const int64_t size : {1, 250, 8, 3, 738}) {
      AdamWBuffers shard = parts;
      for (Tensor* x : {&shard.param, &shard.grad, &shard.exp_avg, &shard.exp_avg_sq}) *x = x->narrow(0, begin, size);
      shard.first_element = static_cast<uint64_t>(begin);
      adamw_step(shard, options);
      begin += size;
    }
    EXPECT_EQ(begin, 1000);
    EXPECT_TRUE(torch::equal(parts.param, whole.param));
    EXPECT_TRUE(torch::equal(parts.exp_avg_sq, whole.exp_avg_sq));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, AdamWAtLevel, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& test) { return std::string(cpu_level_name(test.param)); });

// The bits are those that adamw_raw.h promises, so that a GPU or another program can make them again.
TEST(AdamW, RoundingBitsAreTheHalvesOfTheStreamsWords) {
  AdamWBuffers buffers = make_buffers(77, torch::kBFloat16, torch::kFloat32, torch::kFloat32);
  buffers.stream = 9;
  buffers.first_element = 13;
  AdamWBuffers exact = copy_of(buffers);
  exact.param = exact.param.to(torch::kFloat32);
  const AdamWOptions options{.lr = 1e-2, .step = 4, .seed = 21};
  adamw_step(exact, options);
  adamw_step(buffers, options);
  const RandomStream stream = rounding_stream(21, 4, 9, RoundedTensor::kParam);
  for (int64_t i = 0; i < 77; ++i) {
    const uint64_t element = 13 + static_cast<uint64_t>(i);
    const uint32_t bits = random_word(stream, element / 2) >> (element % 2 * 16) & 0xFFFFu;
    const float value = exact.param[i].item<float>();
    uint32_t word;
    std::memcpy(&word, &value, 4);
    word = (word + bits) & 0xFFFF0000u;
    float rounded;
    std::memcpy(&rounded, &word, 4);
    EXPECT_EQ(buffers.param[i].item<float>(), rounded) << i;
  }
}

TEST(AdamW, TheThreadCountChangesNothing) {
  const AdamWBuffers one = make_buffers(50001, torch::kBFloat16, torch::kBFloat16, torch::kBFloat16);
  const AdamWBuffers three = copy_of(one);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  adamw_step(one, {});
  at::set_num_threads(3);
  adamw_step(three, {});
  at::set_num_threads(threads);
  EXPECT_TRUE(torch::equal(one.param, three.param));
  EXPECT_TRUE(torch::equal(one.exp_avg, three.exp_avg));
}

TEST(AdamW, NotANumberStaysOneThroughRounding) {
  const AdamWBuffers buffers = make_buffers(40, torch::kBFloat16, torch::kFloat32, torch::kBFloat16);
  buffers.grad[17] = std::numeric_limits<float>::quiet_NaN();
  adamw_step(buffers, {});
  EXPECT_TRUE(torch::isnan(buffers.param[17]).item<bool>());
  EXPECT_EQ(torch::isnan(buffers.param).sum().item<int64_t>(), 1);
}

TEST(AdamW, RefusesBuffersThatDoNotMatch) {
  AdamWBuffers buffers = make_buffers(40, torch::kFloat32, torch::kFloat32, torch::kFloat32);
  buffers.grad = torch::zeros({39});
  EXPECT_THROW(adamw_step(buffers, {}), LogicError);
}

}  // namespace
}  // namespace millrace
