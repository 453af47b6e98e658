#include "models/flux/flops.h"

#include <gtest/gtest.h>

namespace millrace::flux {
namespace {

TEST(FluxFlops, SchnellAt256PixelsIsWhatSubmissionsCount) {
  EXPECT_NEAR(train_flops_per_sample(flavor("flux-schnell"), 256, 256), 20.38e12, 0.01e12);
}

}  // namespace
}  // namespace millrace::flux
