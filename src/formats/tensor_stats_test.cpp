#include "formats/tensor_stats.h"

#include <cmath>
#include <limits>

#include "formats/element.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

TensorStats stats_of(DType dtype, std::span<const std::byte> bytes, int num_threads = 2) {
  if (num_threads == 1) return tensor_stats(dtype, bytes, nullptr);
  ThreadPool pool(num_threads);
  return tensor_stats(dtype, bytes, &pool);
}

TEST(Elements, SmallFloatsHaveTheirDocumentedValues) {
  EXPECT_EQ(element::f16(0x3C00), 1);
  EXPECT_EQ(element::f16(0xC500), -5);
  EXPECT_EQ(element::f16(0x7BFF), 65504);
  EXPECT_EQ(element::f16(0x0001), 0x1p-24);
  EXPECT_TRUE(std::signbit(element::f16(0x8000)));
  EXPECT_EQ(element::f16(0xFC00), -INFINITY);
  EXPECT_TRUE(std::isnan(element::f16(0x7E00)));
  EXPECT_EQ(element::bf16(0xC049), -3.140625);
  EXPECT_EQ(element::f8_e4m3(0x7E), 448);
  EXPECT_EQ(element::f8_e4m3(0x01), 0x1p-9);
  EXPECT_TRUE(std::isnan(element::f8_e4m3(0xFF)));
  EXPECT_EQ(element::f8_e5m2(0x7B), 57344);
  EXPECT_EQ(element::f8_e5m2(0x01), 0x1p-16);
  EXPECT_EQ(element::f8_e5m2(0xFC), -INFINITY);
}

TEST(TensorStatistics, OfFewValues) {
  const std::vector<float> values = {1, 2, 3, NAN, 6, INFINITY, -INFINITY};
  const TensorStats stats = stats_of(DType::kF32, bytes_of(values));
  EXPECT_EQ(stats.finite_count, 4u);
  EXPECT_EQ(stats.nan_count, 1u);
  EXPECT_EQ(stats.infinity_count, 2u);
  EXPECT_EQ(stats.min, 1);
  EXPECT_EQ(stats.max, 6);
  EXPECT_DOUBLE_EQ(stats.mean, 3);
  EXPECT_DOUBLE_EQ(stats.std(), std::sqrt(3.5));
}

TEST(TensorStatistics, OfNothing) {
  EXPECT_EQ(stats_of(DType::kF32, {}).finite_count, 0u);
  const std::vector<double> nan = {NAN};
  EXPECT_EQ(stats_of(DType::kF64, bytes_of(nan)).std(), 0);
}

TEST(TensorStatistics, AreAccurateFarFromZeroAndTheSameForAnyNumberOfThreads) {
  // 1e9 + 0 or 1, over several tasks: a sum of squares would lose everything.
  std::vector<double> values((size_t{1} << 23) + 12345);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 1e9 + static_cast<double>(i % 2);
  const TensorStats one = stats_of(DType::kF64, bytes_of(values), 1), four = stats_of(DType::kF64, bytes_of(values), 4);
  EXPECT_NEAR(one.std(), 0.5, 1e-7);
  EXPECT_NEAR(one.mean, 1e9 + 0.5, 1e-6);
  EXPECT_EQ(one.mean, four.mean);
  EXPECT_EQ(one.sum_of_squares, four.sum_of_squares);
}

TEST(TensorStatistics, BytesMayBeUnaligned) {
  std::vector<std::byte> bytes(1 + 8);
  const int32_t values[] = {-7, 9};
  std::memcpy(bytes.data() + 1, values, sizeof values);
  const TensorStats stats = stats_of(DType::kI32, std::span<const std::byte>(bytes).subspan(1));
  EXPECT_EQ(stats.min, -7);
  EXPECT_EQ(stats.max, 9);
}

}  // namespace
}  // namespace millrace
