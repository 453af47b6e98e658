#include "nn/device.h"

#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace millrace {
namespace {

std::string error_of(const char* text) {
  try {
    resolve_device(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(ResolveDevice, TheCpuIsAlwaysThere) {
  EXPECT_EQ(resolve_device("cpu"), torch::Device(torch::kCPU));
  const torch::Device best = resolve_device("auto");
  EXPECT_TRUE(best.is_cpu() || best.is_cuda());
}

TEST(ResolveDevice, SaysWhyAGpuCannotBeUsed) {
  // With GPUs: "expected a GPU below 8"; without: "expected a usable GPU, got none: no NVIDIA driver ...".
  EXPECT_THAT(error_of("cuda:99"), ::testing::HasSubstr("GPU"));
}

TEST(ResolveDevice, AskingForAGpuMakesItsArithmeticExact) {
  resolve_device("auto");
  EXPECT_FALSE(at::globalContext().allowTF32CuDNN());
  EXPECT_FALSE(at::globalContext().allowTF32CuBLAS());
  EXPECT_EQ(at::globalContext().allowBF16ReductionCuBLAS(),
            at::CuBLASReductionOption::DisallowReducedPrecisionAllowSplitK);
}

TEST(ResolveDevice, OtherWordsAreRefused) {
  for (const char* text : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1234", "CPU", "cpu "}) {
    EXPECT_THAT(error_of(text), ::testing::HasSubstr("expected auto, cpu, cuda or cuda:N")) << text;
  }
}

}  // namespace
}  // namespace millrace
