#include "metrics/flops.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

TEST(PeakFlops, KnowsGpusAndAdmitsWhatItDoesNotKnow) {
  EXPECT_EQ(peak_flops("NVIDIA H100 80GB HBM3"), 989e12);
  EXPECT_EQ(peak_flops("NVIDIA H100 PCIe"), 756e12);
  EXPECT_EQ(peak_flops("NVIDIA H200"), 989e12);
  EXPECT_EQ(peak_flops("NVIDIA B200"), 2.25e15);
  EXPECT_EQ(peak_flops("NVIDIA GB200"), 2.5e15);
  EXPECT_EQ(peak_flops("AMD Instinct MI300X"), 1300e12);
  EXPECT_EQ(peak_flops("NVIDIA GeForce RTX 4060 Ti"), 44.1e12);
  EXPECT_FALSE(peak_flops("NVIDIA GeForce RTX 3060 Ti").has_value()) << "another card than the RTX 3060";
  EXPECT_FALSE(peak_flops("AMD EPYC").has_value());
}

}  // namespace
}  // namespace millrace
