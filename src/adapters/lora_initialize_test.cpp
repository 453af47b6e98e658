#include "adapters/lora_initialize.h"

#include <gtest/gtest.h>

#include <cmath>

namespace millrace {
namespace {

TEST(LoraInitialize, DownIsUniformWithinTheInverseRootOfItsInputs) {
  const torch::Tensor down = initial_adapter_matrix(AdapterKind::kLora, "a.down", {64, 400}, 3, torch::kCPU);
  const double bound = 1 / std::sqrt(400.0);
  EXPECT_LE(down.abs().max().item<double>(), bound);
  EXPECT_GT(down.abs().max().item<double>(), 0.999 * bound);
  // U(-b, b) has the standard deviation b / sqrt(3); of 25,600 numbers it is known to within 2 %.
  EXPECT_NEAR(down.std().item<double>() * std::sqrt(3.0) / bound, 1, 0.02);
  EXPECT_NEAR(down.mean().item<double>() / bound, 0, 0.02);
}

TEST(LoraInitialize, UpIsZeroAndDownBelongsToNameAndSeed) {
  EXPECT_EQ(initial_adapter_matrix(AdapterKind::kLora, "a.up", {3, 4}, 3, torch::kCPU).abs().sum().item<float>(), 0);
  const torch::Tensor one = initial_adapter_matrix(AdapterKind::kLora, "a.down", {2, 5}, 3, torch::kCPU);
  EXPECT_TRUE(at::equal(one, initial_adapter_matrix(AdapterKind::kLora, "a.down", {2, 5}, 3, torch::kCPU)));
  EXPECT_FALSE(at::equal(one, initial_adapter_matrix(AdapterKind::kLora, "b.down", {2, 5}, 3, torch::kCPU)));
  EXPECT_FALSE(at::equal(one, initial_adapter_matrix(AdapterKind::kLora, "a.down", {2, 5}, 4, torch::kCPU)));
}

TEST(LoraInitialize, OtherKindsStartAsLycorisHasThem) {
  const auto matrix = [](AdapterKind kind, const char* name) {
    return initial_adapter_matrix(kind, name, {64, 400}, 3, torch::kCPU);
  };
  // Of 25,600 numbers a standard deviation is known to within 1 %, three times over.
  EXPECT_NEAR(matrix(AdapterKind::kLoha, "a.w1_a").std().item<double>(), 0.1, 0.1 * 0.015);
  EXPECT_NEAR(matrix(AdapterKind::kLoha, "a.w1_b").std().item<double>(), 1, 0.015);
  EXPECT_NEAR(matrix(AdapterKind::kLoha, "a.w2_b").std().item<double>(), 1, 0.015);
  EXPECT_EQ(matrix(AdapterKind::kLoha, "a.w2_a").count_nonzero().item<int64_t>(), 0);
  for (const char* name : {"a.w1", "a.w1_a", "a.w1_b", "a.w2_a"}) {
    const torch::Tensor values = matrix(AdapterKind::kLokr, name);
    EXPECT_LE(values.abs().max().item<double>(), 1 / std::sqrt(400.0)) << name;
    EXPECT_GT(values.abs().max().item<double>(), 0.999 / std::sqrt(400.0)) << name;
  }
  EXPECT_EQ(matrix(AdapterKind::kLokr, "a.w2").count_nonzero().item<int64_t>(), 0);
  EXPECT_EQ(matrix(AdapterKind::kLokr, "a.w2_b").count_nonzero().item<int64_t>(), 0);
}

}  // namespace
}  // namespace millrace
