#include "kernels/quantised/dequantise.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/quantised/quantised_cases.h"

namespace millrace {
namespace {

class DequantiseAtLevel : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override { force_cpu_level(GetParam()); }
  void TearDown() override { force_cpu_level(std::nullopt); }
};

TEST_P(DequantiseAtLevel, EveryKindGivesTheReferencesBits) {
  for (const QuantisedCase& quantised : quantised_cases(7)) {
    EXPECT_EQ(differing_elements(quantised.matrix, torch::kCPU), 0) << quantised.name;
  }
}

TEST_P(DequantiseAtLevel, EveryCodeOfFp8IsTorchsNumber) {
  QuantisedTensor matrix{.kind = QuantisedKind::kFp8, .rows = 1, .columns = 256};
  matrix.codes = torch::arange(256, torch::kUInt8);
  const torch::Tensor expected = matrix.codes.view(torch::kFloat8_e4m3fn).to(torch::kFloat32);
  const torch::Tensor got = torch::empty({1, 256});
  dequantise(matrix, 0, 0, got);
  EXPECT_TRUE(at::equal(got.isnan().view({-1}), expected.isnan()));
  EXPECT_TRUE(at::equal(got.nan_to_num(7).view({-1}), expected.nan_to_num(7)));
  EXPECT_TRUE(at::equal(got.nan_to_num(7).signbit().view({-1}), expected.nan_to_num(7).signbit()));
}

INSTANTIATE_TEST_SUITE_P(Levels, DequantiseAtLevel, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& test) { return std::string(cpu_level_name(test.param)); });

TEST(Dequantise, RefusesWhatDoesNotFit) {
  QuantisedTensor matrix{.kind = QuantisedKind::kInt8, .rows = 2, .columns = 4};
  matrix.codes = torch::zeros({8}, torch::kUInt8);
  EXPECT_THROW(dequantise(matrix, 0, 0, torch::empty({2, 4})), LogicError) << "no scales";
  matrix.row_scales = torch::ones({2});
  EXPECT_THROW(dequantise(matrix, 1, 0, torch::empty({2, 4})), LogicError);
  EXPECT_THROW(dequantise(matrix, 0, 2, torch::empty({2, 4})), LogicError);
  EXPECT_THROW(dequantise(matrix, 0, 0, torch::empty({2, 4}, torch::kFloat64)), LogicError);
  const QuantisedTensor blocks = quantised_cases(2).back().matrix;
  EXPECT_THROW(dequantise(blocks, 0, 128, torch::empty({2, 256})), LogicError) << "within a block";
}

}  // namespace
}  // namespace millrace
