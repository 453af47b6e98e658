#include "metrics/flops.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

TEST(FluxFlops, SchnellAt256PixelsIsWhatSubmissionsCount) {
  const FluxShape schnell{
      .hidden_size = 3072, .depth = 19, .depth_single_blocks = 38, .image_tokens = 256, .text_tokens = 256};
  EXPECT_NEAR(flux_train_flops_per_sample(schnell), 20.38e12, 0.01e12);
}

TEST(PeakFlops, KnowsGpusAndAdmitsWhatItDoesNotKnow) {
  EXPECT_EQ(peak_flops("NVIDIA H100 80GB HBM3"), 989e12);
  EXPECT_EQ(peak_flops("NVIDIA H100 PCIe"), 756e12);
  EXPECT_EQ(peak_flops("NVIDIA H200"), 989e12);
  EXPECT_EQ(peak_flops("NVIDIA B200"), 2.25e15);
  EXPECT_EQ(peak_flops("NVIDIA GB200"), 2.5e15);
  EXPECT_EQ(peak_flops("AMD Instinct MI300X"), 1300e12);
  EXPECT_FALSE(peak_flops("AMD EPYC").has_value());
}

}  // namespace
}  // namespace millrace
