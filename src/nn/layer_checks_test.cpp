#include "nn/layer_checks.h"

#include <gtest/gtest.h>

#include "nn/device.h"

namespace millrace {
namespace {

void expect_all_pass(const std::vector<KernelCheck>& checks, torch::Device device) {
  for (const KernelCheck& check : checks) {
    if (check.cpu_only && !device.is_cpu()) continue;
    const KernelCheckResult result = check.run(device);
    EXPECT_TRUE(result.passed()) << check.name << ": " << result.error << " > " << result.tolerance;
  }
}

TEST(LayerChecks, EveryLayerPassesOnThisMachine) {
  EXPECT_EQ(layer_checks().size(), 17u);
  expect_all_pass(layer_checks(), torch::kCPU);
}

// Left out where there is no GPU: cmake/MillraceLibrary.cmake.
TEST(OnGpu, EveryKernelAgreesWithItsReference) {
  expect_all_pass(kernel_checks(), resolve_device("cuda"));
}

TEST(OnGpu, AttentionProductsAndConvolutionsAgreeWithTheirReferences) {
  expect_all_pass(layer_checks(), resolve_device("cuda"));
}

}  // namespace
}  // namespace millrace
