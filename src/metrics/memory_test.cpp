#include "metrics/memory.h"

#include <gtest/gtest.h>

#include <vector>

namespace millrace {
namespace {

TEST(ProcessMemory, PeakStaysAfterMemoryIsGivenBack) {
  constexpr size_t kSize = 64 << 20;
  const MemoryUse before = process_memory();
  ASSERT_GT(before.bytes, 0u);
  ASSERT_GT(before.total_bytes, before.bytes);
  {
    const std::vector<char> block(kSize, 1);
    EXPECT_GE(process_memory().bytes + (1 << 20), before.bytes + kSize);
  }
  const MemoryUse after = process_memory();
  EXPECT_GE(after.peak_bytes + (1 << 20), before.bytes + kSize);
  EXPECT_LT(after.bytes, before.bytes + kSize / 2);
}

}  // namespace
}  // namespace millrace
