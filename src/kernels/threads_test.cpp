// at::parallel_for() is inline, and serial where the compiler has not been told of OpenMP.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/clock.h"

namespace millrace {
namespace {

TEST(Threads, KernelsShareTheirWorkAmongThem) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::atomic<int> inside = 0;
  std::atomic<bool> met = false;
  at::parallel_for(0, 2, 1, [&](int64_t /*begin*/, int64_t /*end*/) {
    ++inside;
    // Each waits for the other: one thread alone would not see two here.
    for (const double start = now_seconds(); !met && now_seconds() - start < 20;) {
      if (inside == 2) met = true;
      std::this_thread::yield();
    }
  });
  at::set_num_threads(before);
  EXPECT_TRUE(met);
}

}  // namespace
}  // namespace millrace
