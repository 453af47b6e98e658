#include "data/batch_buffers.h"

#include <gtest/gtest.h>

#include <type_traits>

namespace millrace {
namespace {

TEST(BatchBuffers, MemoryIsUsedAgainOnlyWhenNobodyHoldsIt) {
  BatchBuffers buffers(2);
  torch::Tensor first = buffers.make({2, 3});
  const void* place = first.data_ptr();
  torch::Tensor part = first.narrow(0, 0, 1);
  first.reset();
  EXPECT_NE(buffers.make({2, 3}).data_ptr(), place);  // part still holds it
  part.reset();
  std::vector<torch::Tensor> held = {buffers.make({2, 3}), buffers.make({2, 3})};
  EXPECT_TRUE(held[0].data_ptr() == place || held[1].data_ptr() == place);
  EXPECT_NE(held[0].data_ptr(), held[1].data_ptr());
}

// A copy would share the memory: buffers of several sizes would then never find theirs again.
static_assert(!std::is_copy_constructible_v<BatchBuffers> && std::is_move_constructible_v<BatchBuffers>);

TEST(BatchBuffers, ABatchMayOutliveTheBuffers) {
  torch::Tensor tensor;
  {
    BatchBuffers buffers(1);
    tensor = buffers.make({4});
  }
  tensor.fill_(7);
  EXPECT_EQ(tensor.sum().item<float>(), 28);
}

}  // namespace
}  // namespace millrace
