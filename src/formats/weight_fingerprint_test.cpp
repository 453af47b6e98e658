#include "formats/weight_fingerprint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <span>
#include <vector>

#include "formats/safetensors.h"

namespace millrace {
namespace {

using Values = std::vector<float>;

Values counting(size_t size, float step = 1) {
  Values values(size);
  for (size_t i = 0; i < size; ++i) values[i] = step * static_cast<float>(i);
  return values;
}

uint64_t fingerprint_of(const Values& small, const Values& large, std::vector<int64_t> small_shape = {100}) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "fingerprint.safetensors";
  const auto view = [](const char* name, const Values& values, std::vector<int64_t> shape) {
    return TensorView{name, DType::kF32, std::move(shape), std::as_bytes(std::span(values))};
  };
  write_safetensors(path, std::vector{view("small", small, std::move(small_shape)),
                                      view("large", large, {static_cast<int64_t>(large.size())})});
  return weight_fingerprint(WeightStore(path));
}

TEST(WeightFingerprint, TellsDifferentWeightsApart) {
  const Values small = counting(100), large = counting(1 << 19);
  const uint64_t first = fingerprint_of(small, large);
  EXPECT_EQ(fingerprint_of(counting(100), counting(1 << 19)), first);
  Values other = small;
  other[57] += 1;
  EXPECT_NE(fingerprint_of(other, large), first);
  EXPECT_NE(fingerprint_of(small, counting(1 << 19, 1.001f)), first);
  EXPECT_NE(fingerprint_of(small, large, {10, 10}), first);
  other = large;
  other.back() += 1;
  EXPECT_NE(fingerprint_of(small, other), first);
}

}  // namespace
}  // namespace millrace
