#include "kernels/cpu_level.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace {
namespace {

TEST(CpuLevel, TheDetectedLevelIsTheLastSupportedOne) {
  const std::vector<CpuLevel> levels = supported_cpu_levels();
  ASSERT_FALSE(levels.empty());
  EXPECT_EQ(levels.front(), CpuLevel::kV2);
  EXPECT_EQ(levels.back(), detected_cpu_level());
}

TEST(CpuLevel, ForcingALevelHoldsUntilItIsLifted) {
  const CpuLevel before = cpu_level();
  force_cpu_level(CpuLevel::kV2);
  EXPECT_EQ(cpu_level(), CpuLevel::kV2);
  EXPECT_THAT(cpu_level_report(), testing::HasSubstr("x86-64-v2 (SSE 4.2"));
  force_cpu_level(std::nullopt);
  EXPECT_EQ(cpu_level(), before);
}

}  // namespace
}  // namespace millrace
