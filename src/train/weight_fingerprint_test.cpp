#include "train/weight_fingerprint.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "nn/tensor_io.h"

namespace millrace {
namespace {

uint64_t fingerprint_of(const TensorMap& tensors) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "fingerprint.safetensors";
  save_tensors(path, tensors, {});
  return weight_fingerprint(WeightStore(path));
}

TEST(WeightFingerprint, TellsDifferentWeightsApart) {
  const torch::Tensor small = torch::arange(100, torch::kFloat32), large = torch::arange(1 << 19, torch::kFloat32);
  const uint64_t first = fingerprint_of({{"small", small}, {"large", large}});
  EXPECT_EQ(fingerprint_of({{"small", small.clone()}, {"large", large.clone()}}), first);
  torch::Tensor other = small.clone();
  other[57] += 1;
  EXPECT_NE(fingerprint_of({{"small", other}, {"large", large}}), first);
  EXPECT_NE(fingerprint_of({{"small", small}, {"large", large * 1.001}}), first);
  EXPECT_NE(fingerprint_of({{"small", small.view({10, 10})}, {"large", large}}), first);
  other = large.clone();
  other[-1] += 1;
  EXPECT_NE(fingerprint_of({{"small", small}, {"large", other}}), first);
}

}  // namespace
}  // namespace millrace
