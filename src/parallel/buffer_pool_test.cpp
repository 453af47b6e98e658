#include "parallel/buffer_pool.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

bool is_of(const torch::Tensor& part, const void* memory) {
  return part.data_ptr() == memory;
}

TEST(BufferPool, ReusesTheSmallestBufferThatFits) {
  BufferPool pool(torch::kFloat32);
  torch::Tensor large = pool.take(100), small = pool.take(60);
  const void *large_memory = large.data_ptr(), *small_memory = small.data_ptr();
  pool.give_back(std::move(large));
  pool.give_back(std::move(small));
  const torch::Tensor first = pool.take(50), second = pool.take(50);
  EXPECT_TRUE(is_of(first, small_memory) && is_of(second, large_memory));
  EXPECT_EQ(second.numel(), 50);
}

TEST(BufferPool, ReplacesABufferThatIsTooSmall) {
  BufferPool pool(torch::kFloat32);
  const torch::Tensor small = pool.take(60);
  pool.give_back(small);
  pool.give_back(pool.take(100));
  const torch::Tensor first = pool.take(60), second = pool.take(60);
  EXPECT_NE(second.data_ptr(), small.data_ptr()) << "it is gone";
  EXPECT_EQ(first.storage().nbytes(), 400u);
}

// Units of an embedding's size first and last, tiny ones between them: one large buffer serves both.
TEST(BufferPool, KeepsLargeBuffersForLargeUnits) {
  BufferPool pool(torch::kFloat32);
  torch::Tensor embedding = pool.take(1000), block = pool.take(10);
  const void *large = embedding.data_ptr(), *small = block.data_ptr();
  pool.give_back(std::move(embedding));
  torch::Tensor next = pool.take(10);
  EXPECT_FALSE(is_of(next, large));
  pool.give_back(std::move(block));
  EXPECT_TRUE(is_of(pool.take(1000), large));
  EXPECT_TRUE(is_of(pool.take(10), small)) << "nor does a large unit replace a small buffer";
}

}  // namespace
}  // namespace millrace
