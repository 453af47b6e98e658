#include "kernels/quantised/quantise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/quantised/quantise_tensor.h"

namespace millrace {
namespace {

using torch::Tensor;

Tensor dequantised(const QuantisedTensor& matrix, torch::ScalarType type = torch::kFloat32) {
  Tensor values = torch::empty({matrix.rows, matrix.columns}, type);
  dequantise(matrix, 0, 0, values);
  return values;
}

double quantisation_error(const Tensor& weight, QuantisedAs as) {
  const Tensor difference = dequantised(quantise(weight, as)) - weight;
  return (difference.norm() / weight.norm()).item<double>();
}

TEST(QuantiseFp8, RoundsAsTorchDoes) {
  // Every upper half of an fp32, and each with the bits that make and break ties below it.
  const Tensor high = torch::arange(65536, torch::kInt64) * 65536;
  for (const int64_t low : {0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF}) {
    const Tensor x = (high + low).to(torch::kInt32).view(torch::kFloat32).view({256, 256});
    const Tensor expected = x.to(torch::kFloat8_e4m3fn).view(torch::kUInt8);
    EXPECT_TRUE(at::equal(quantise(x, QuantisedAs::kFp8Unscaled).codes, expected.view({-1}))) << low;
  }
}

TEST(QuantiseFp8, NumbersThatAreFp8StayAsTheyAre) {
  const Tensor codes = torch::arange(256, torch::kUInt8).view({4, 64});
  const Tensor weight = codes.view(torch::kFloat8_e4m3fn);
  EXPECT_TRUE(at::equal(quantise(weight, QuantisedAs::kFp8Unscaled).codes, codes.view({-1})));
  EXPECT_TRUE(at::equal(quantise(weight.t(), QuantisedAs::kFp8Unscaled).codes, codes.t().reshape({-1})));
}

TEST(WidenE4m3, GivesTorchsNumbers) {
  for (const int64_t count : {0, 5, 4096, 3 * 4096 + 5}) {
    const Tensor x = torch::arange(count, torch::kInt64).remainder(256).to(torch::kUInt8).view(torch::kFloat8_e4m3fn);
    for (const torch::ScalarType type : {torch::kFloat32, torch::kBFloat16}) {
      const Tensor got = torch::empty({count}, type);
      widen_e4m3(x, got);
      EXPECT_TRUE(at::allclose(got, x.to(type), 0, 0, /*equal_nan=*/true)) << count;
    }
  }
}

TEST(Quantise, Fp8IsWidenedAsTorchDoes) {
  const Tensor codes = torch::arange(256, torch::kUInt8).remainder(127).view({4, 64});  // all finite
  const Tensor weight = codes.view(torch::kFloat8_e4m3fn);
  for (const QuantisedAs as : {QuantisedAs::kFp8, QuantisedAs::kInt8, QuantisedAs::kNf4, QuantisedAs::kNf4Torchao}) {
    const QuantisedTensor got = quantise(weight, as), expected = quantise(weight.to(torch::kFloat32), as);
    EXPECT_TRUE(at::equal(got.codes, expected.codes));
    EXPECT_TRUE(at::equal(dequantised(got), dequantised(expected)));
  }
}

TEST(Quantise, EveryLevelGivesTheSameBits) {
  torch::manual_seed(4);
  for (const int64_t columns : {64, 75, 200}) {
    const Tensor weight = torch::randn({9, columns}).to(torch::kBFloat16);
    for (const QuantisedAs as : {QuantisedAs::kFp8, QuantisedAs::kFp8Unscaled, QuantisedAs::kInt8, QuantisedAs::kNf4,
                                 QuantisedAs::kNf4Torchao}) {
      Tensor expected;
      for (const CpuLevel level : supported_cpu_levels()) {
        force_cpu_level(level);
        const Tensor values = dequantised(quantise(weight, as));
        if (!expected.defined()) expected = values;
        EXPECT_TRUE(at::equal(values, expected)) << cpu_level_name(level) << ", " << static_cast<int>(as);
      }
      force_cpu_level(std::nullopt);
    }
  }
}

TEST(QuantiseInt8, RoundsHalvesToEven) {
  Tensor weight = torch::arange(-254, 256, 1, torch::kFloat32) / 2;  // scale 1: the largest is 127
  weight[509] = 127;
  const Tensor codes = quantise(weight.view({1, -1}), QuantisedAs::kInt8).codes.view(torch::kInt8);
  EXPECT_TRUE(at::equal(codes, weight.round().to(torch::kInt8)));
}

TEST(Quantise, TheLargestOfARowIsKeptAndZerosStayZeros) {
  torch::manual_seed(1);
  Tensor weight = torch::randn({5, 70}) * torch::tensor({1e-3, 1.0, 1e4, 0.0, 1e-30}).view({5, 1});
  for (const QuantisedAs as : {QuantisedAs::kFp8, QuantisedAs::kInt8}) {
    const Tensor got = dequantised(quantise(weight, as));
    const Tensor largest = weight.abs().amax(1), kept = got.abs().amax(1);
    EXPECT_TRUE(at::allclose(kept, largest, 1e-6, 0));
    EXPECT_EQ(torch::count_nonzero(got[3]).item<int64_t>(), 0);
  }
  weight = torch::cat({torch::randn({1, 128}), torch::zeros({1, 128})});
  for (const QuantisedAs as : {QuantisedAs::kNf4, QuantisedAs::kNf4Torchao}) {
    EXPECT_EQ(torch::count_nonzero(dequantised(quantise(weight, as))[1]).item<int64_t>(), 0);
  }
}

// The errors that docs/quantised.md states, of weights from a normal distribution: a property of the formats, which no
// sample of a million moves by a hundredth. Unscaled fp8 depends on the size of the weights.
TEST(Quantise, ErrorsAreThoseOfTheFormats) {
  torch::manual_seed(2);
  const Tensor weight = torch::randn({1024, 1024});
  const std::map<QuantisedAs, double> expected = {{QuantisedAs::kFp8, 0.0264},
                                                  {QuantisedAs::kInt8, 0.0079},
                                                  {QuantisedAs::kNf4, 0.0920},
                                                  {QuantisedAs::kNf4Torchao, 0.0920},
                                                  {QuantisedAs::kFp8Unscaled, 0.0266}};
  for (const auto& [as, error] : expected)
    EXPECT_NEAR(quantisation_error(weight, as) / error, 1, 0.02) << static_cast<int>(as);
  EXPECT_NEAR(quantisation_error(weight * 0.02, QuantisedAs::kFp8Unscaled) / 0.0330, 1, 0.02);
}

TEST(Quantise, WeightsThatAreNotFiniteAreRefused) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const Tensor weight = torch::ones({3, 64});
    weight[1][2] = bad;
    for (const QuantisedAs as : {QuantisedAs::kFp8, QuantisedAs::kInt8, QuantisedAs::kNf4, QuantisedAs::kNf4Torchao}) {
      EXPECT_THROW(quantise(weight, as), ModelError);
    }
    EXPECT_TRUE(dequantised(quantise(weight, QuantisedAs::kFp8Unscaled)).isnan().any().item<bool>());
  }
}

TEST(Quantise, BlocksOfEqualScaleAreNotDividedByNothing) {
  const Tensor weight = torch::ones({4, 64});
  for (const QuantisedAs as : {QuantisedAs::kNf4, QuantisedAs::kNf4Torchao}) {
    EXPECT_TRUE(at::equal(dequantised(quantise(weight, as)), weight));
  }
}

TEST(Quantise, AnyWidthAndStrideMayBeRead) {
  torch::manual_seed(3);
  const Tensor wide = torch::randn({75, 40}), weight = wide.t();  // 40 rows of 75
  for (const QuantisedAs as : {QuantisedAs::kFp8, QuantisedAs::kInt8, QuantisedAs::kNf4, QuantisedAs::kNf4Torchao}) {
    EXPECT_TRUE(at::equal(quantise(weight, as).codes, quantise(weight.contiguous(), as).codes));
    EXPECT_LT(quantisation_error(weight, as), 0.12);
  }
}

}  // namespace
}  // namespace millrace
