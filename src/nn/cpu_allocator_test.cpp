#include "nn/cpu_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <memory>
#include <vector>

namespace millrace {
namespace {

// As a profiler does.
class Recorder : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t size, size_t total, size_t, c10::Device) override {
    sizes.push_back(size);
    totals.push_back(total);
  }
  bool memoryProfilingEnabled() const override { return true; }

  std::vector<int64_t> sizes;
  std::vector<size_t> totals;
};

TEST(CachingCpuAllocator, ReportsLargeBlocksToAProfiler) {
  install_caching_cpu_allocator();
  constexpr int64_t kSize = 3 << 20;
  const size_t before = cpu_allocator_stats().bytes_in_use;
  const auto recorder = std::make_shared<Recorder>();
  {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, recorder);
    const torch::Tensor small = torch::empty({10}), large = torch::empty({kSize}, torch::kUInt8);
  }
  torch::empty({kSize}, torch::kUInt8);
  const auto counted = static_cast<int64_t>(counted_cpu_bytes(kSize));
  EXPECT_THAT(recorder->sizes, testing::ElementsAre(counted, -counted));
  EXPECT_THAT(recorder->totals, testing::ElementsAre(before + counted, before));
}

TEST(CachingCpuAllocator, ZerosAreZeroAfterMemoryWasUsed) {
  install_caching_cpu_allocator();
  for (const int64_t size : {int64_t{3}, int64_t{1} << 18, (int64_t{1} << 20) + 7}) {
    torch::ones({4, size});  // freed, but cached
    const torch::Tensor zeros = zeros_when_touched({4, size}, torch::kFloat32);
    EXPECT_EQ(zeros.sizes(), (at::IntArrayRef{4, size}));
    EXPECT_EQ(zeros.count_nonzero().item<int64_t>(), 0) << size;
    EXPECT_TRUE(zeros_when_touched({size}, torch::dtype(torch::kBFloat16).device(torch::kMeta)).is_meta());
  }
}

}  // namespace
}  // namespace millrace
