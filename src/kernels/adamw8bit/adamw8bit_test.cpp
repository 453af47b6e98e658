#include "kernels/adamw8bit/adamw8bit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "base/error.h"
#include "kernels/adamw8bit/adamw8bit_cases.h"
#include "kernels/cpu_level.h"

namespace millrace {
namespace {

using torch::Tensor;

constexpr AdamW8bitOptions kOptions = {.lr = 1e-2, .step = 3};

// Codes that differ, where a last bit of a moment decides between two neighbours: a few of thousands.
void expect_equal_codes(const Tensor& got, const Tensor& expected, const char* what) {
  const Tensor difference = (got.to(torch::kInt64) - expected.to(torch::kInt64)).abs();
  EXPECT_LE(difference.max().item<int64_t>(), 1) << what;
  EXPECT_LE(difference.sum().item<int64_t>(), 4) << what;
}

class AdamW8bitAtLevel : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override { force_cpu_level(GetParam()); }
  void TearDown() override { force_cpu_level(std::nullopt); }
  const CodeTables tables_{torch::kCPU};
};

TEST_P(AdamW8bitAtLevel, AStepIsThatOfTheReference) {
  AdamW8bitOptions options = kOptions;
  options.stochastic_rounding = false;
  for (const auto& [param_type, grad_type] : {std::pair{torch::kFloat32, torch::kFloat32},
                                              {torch::kFloat32, torch::kBFloat16},
                                              {torch::kBFloat16, torch::kFloat32},
                                              {torch::kBFloat16, torch::kBFloat16}}) {
    const AdamW8bitBuffers fused = adamw8bit_case(5003, /*first_element=*/77, tables_, grad_type, param_type);
    const AdamW8bitBuffers reference = copy_of(fused);
    const Tensor clip = torch::tensor({0.37f});
    adamw8bit_step(fused, options, clip);
    adamw8bit_step_reference(reference, options, clip);
    const double tolerance = param_type == torch::kFloat32 ? 1e-5 : 1e-2;  // a last bit may round otherwise
    EXPECT_TRUE(torch::allclose(fused.param, reference.param, tolerance, 1e-7));
    EXPECT_LT(torch::ne(fused.param, reference.param).sum().item<int64_t>(), param_type == torch::kFloat32 ? 5004 : 10);
    EXPECT_TRUE(torch::allclose(fused.m_scales, reference.m_scales, 1e-6, 0));
    EXPECT_TRUE(torch::allclose(fused.v_scales, reference.v_scales, 1e-6, 0));
    expect_equal_codes(fused.m_codes, reference.m_codes, "m");
    expect_equal_codes(fused.v_codes, reference.v_codes, "v");
    EXPECT_TRUE(torch::equal(fused.model_copy, fused.param.to(torch::kBFloat16)));
    EXPECT_EQ(fused.grad.count_nonzero().item<int64_t>(), 0);
  }
}

// Runs that cut blocks anywhere give what the whole gives, once they agree on the scales.
void expect_parts_to_give_the_whole(const CodeTables& tables, torch::ScalarType param_type) {
  const AdamW8bitBuffers whole = adamw8bit_case(3000, 0, tables, torch::kFloat32, param_type), parts = copy_of(whole);
  adamw8bit_step(whole, kOptions);
  const Tensor m_scales = torch::zeros_like(parts.m_scales), v_scales = torch::zeros_like(parts.v_scales);
  for (const bool gathers : {true, false}) {
    int64_t begin = 0;
    for (const int64_t size : {1, 100, 700, 255, 256, 1688}) {
      const AdamW8bitBuffers part = part_of(parts, begin, size);
      const int64_t block = begin / kQuantizedBlock, blocks = part.m_scales.numel();
      const Tensor m = m_scales.narrow(0, block, blocks), v = v_scales.narrow(0, block, blocks);
      if (gathers) {
        adamw8bit_gather_scales(part, kOptions, {}, m, v);
      } else {
        adamw8bit_step_with_scales(part, kOptions, {}, m, v);
      }
      begin += size;
    }
    EXPECT_EQ(begin, 3000);
  }
  EXPECT_TRUE(torch::equal(parts.param, whole.param));
  EXPECT_TRUE(torch::equal(parts.m_codes, whole.m_codes));
  EXPECT_TRUE(torch::equal(parts.v_codes, whole.v_codes));
  EXPECT_TRUE(torch::equal(m_scales, whole.m_scales));
  EXPECT_TRUE(torch::equal(v_scales, whole.v_scales));
}

TEST_P(AdamW8bitAtLevel, TwoPassesOverPartsGiveTheBitsOfOneOverTheWhole) {
  expect_parts_to_give_the_whole(tables_, torch::kFloat32);
}

// Weights in bf16, too, whose random bits go by the element.
TEST_P(AdamW8bitAtLevel, TwoPassesRoundAsOneDoes) {
  expect_parts_to_give_the_whole(tables_, torch::kBFloat16);
}

// On average the weights are those of fp32, and each is one of the two neighbours in bf16.
TEST_P(AdamW8bitAtLevel, RoundsUpAsOftenAsTheRestIsLarge) {
  const AdamW8bitBuffers narrow = adamw8bit_case(20000, 3, tables_, torch::kFloat32, torch::kBFloat16);
  AdamW8bitBuffers exact = copy_of(narrow);
  exact.param = exact.param.to(torch::kFloat32);
  adamw8bit_step(narrow, kOptions);
  adamw8bit_step(exact, kOptions);
  const Tensor error = narrow.param.to(torch::kFloat32) - exact.param, step = exact.param.abs() / 128;
  EXPECT_TRUE((error.abs() <= step + 1e-30).all().item<bool>());
  EXPECT_GT(error.abs().mean().item<double>(), 1e-4);
  EXPECT_LT(std::abs(error.mean().item<double>()), 1e-4);
  const AdamW8bitBuffers nearest = adamw8bit_case(20000, 3, tables_, torch::kFloat32, torch::kBFloat16);
  AdamW8bitOptions options = kOptions;
  options.stochastic_rounding = false;
  adamw8bit_step(nearest, options);
  EXPECT_TRUE(torch::equal(nearest.param, exact.param.to(torch::kBFloat16)));
}

INSTANTIATE_TEST_SUITE_P(Levels, AdamW8bitAtLevel, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& test) { return std::string(cpu_level_name(test.param)); });

TEST(AdamW8bit, EveryCodeDecodesToItself) {
  for (const bool is_signed : {true, false}) {
    const Tensor values = code_values(is_signed);
    EXPECT_EQ(values.numel(), 256);
    EXPECT_EQ(values[255].item<float>(), 1);
    EXPECT_EQ(values[zero_code(is_signed)].item<float>(), 0);
    EXPECT_TRUE((values.slice(0, 1) > values.slice(0, 0, 255)).all().item<bool>());
    const Tensor middles = is_signed ? CodeTables(torch::kCPU).m_middles : CodeTables(torch::kCPU).v_middles;
    EXPECT_TRUE(torch::equal(torch::bucketize(values, middles), torch::arange(256)));
  }
}

TEST(AdamW8bit, ABlockOfZerosStaysZero) {
  const CodeTables tables(torch::kCPU);
  AdamW8bitBuffers buffers = adamw8bit_case(300, 0, tables, torch::kFloat32);
  buffers.grad.zero_();
  for (const Tensor* scales : {&buffers.m_scales, &buffers.v_scales}) scales->zero_();
  const Tensor before = buffers.param.clone();
  adamw8bit_step(buffers, {.weight_decay = 0});
  EXPECT_TRUE(torch::equal(buffers.param, before));
  EXPECT_TRUE(buffers.m_codes.eq(zero_code(true)).all().item<bool>());
  EXPECT_TRUE(buffers.v_codes.eq(zero_code(false)).all().item<bool>());
}

TEST(AdamW8bit, CountsBlocksFromTheParametersFirstElement) {
  EXPECT_EQ(quantized_blocks(0, 256), 1);
  EXPECT_EQ(quantized_blocks(0, 257), 2);
  EXPECT_EQ(quantized_blocks(255, 2), 2);
  EXPECT_EQ(quantized_blocks(256, 256), 1);
  EXPECT_EQ(quantized_blocks(5, 0), 0);
}

TEST(AdamW8bit, RefusesBuffersThatDoNotMatch) {
  const CodeTables tables(torch::kCPU);
  AdamW8bitBuffers buffers = adamw8bit_case(300, 0, tables, torch::kFloat32);
  buffers.m_scales = torch::zeros({1});
  EXPECT_THROW(adamw8bit_step(buffers, {}), LogicError);
}

}  // namespace
}  // namespace millrace
