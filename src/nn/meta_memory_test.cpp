#include "nn/meta_memory.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include "nn/attention.h"
#include "nn/rope.h"
#include "nn/unplaced.h"

namespace millrace {
namespace {

const auto kMetaFloats = torch::TensorOptions().device(torch::kMeta);

TEST(MetaMemory, CountsLiveBytesAndThePeakByLabel) {
  MetaMemory memory;
  torch::Tensor kept;
  {
    const MetaMemoryLabel label("weights");
    kept = torch::empty({1000}, kMetaFloats);
  }
  {
    const torch::Tensor view = kept.narrow(0, 0, 10);  // a view takes nothing
    const torch::Tensor product = kept * 2;
    EXPECT_EQ(memory.live().bytes, 8000);
  }
  EXPECT_EQ(memory.live().bytes, 4000);
  EXPECT_EQ(memory.peak().bytes, 8000);
  EXPECT_EQ(memory.peak().by_label.at("weights"), 4000);
  EXPECT_EQ(memory.peak().by_label.at("other"), 4000);
  memory.restart_peak();
  EXPECT_EQ(memory.peak().bytes, 4000);
  kept = torch::Tensor();
  EXPECT_EQ(memory.live().bytes, 0);
}

TEST(MetaMemory, RoundsAsTheAllocatorWould) {
  MetaMemory memory([](size_t bytes) { return (bytes + 511) / 512 * 512; });
  const torch::Tensor x = torch::empty({1}, kMetaFloats);
  EXPECT_EQ(memory.live().bytes, 512);
}

TEST(MetaMemory, TensorsMayOutliveIt) {
  torch::Tensor x;
  {
    MetaMemory memory;
    x = torch::empty({8}, kMetaFloats);
  }
  MetaMemory next;
  x = torch::Tensor();
  EXPECT_EQ(next.live().bytes, 0);
}

TEST(Meta, AttentionKeepsItsShapes) {
  const torch::Tensor q = torch::empty({2, 3, 5, 16}, kMetaFloats);
  const Attention forward = attention_forward(q, q, q);
  EXPECT_EQ(forward.out_BHLD.sizes(), q.sizes());
  const AttentionGradients grads = attention_backward(forward.out_BHLD, q, q, q, forward);
  EXPECT_EQ(grads.dq_BHLD.sizes(), q.sizes());
  EXPECT_TRUE(grads.dv_BHLD.is_meta());
}

TEST(Meta, RopeTakesPositionsForSharedAndParametersForTheirOwn) {
  const torch::Tensor ids = torch::empty({4, 6, 3}, kMetaFloats);
  EXPECT_EQ(rope_table(ids, {4, 4, 8}, 1e4).cos_LP.sizes(), (std::vector<int64_t>{6, 8}));
  EXPECT_TRUE(unplaced_parameter({3, 2}).is_cpu());
  const MetaParameters on_meta;
  EXPECT_TRUE(unplaced_parameter({3, 2}).is_meta());
}

}  // namespace
}  // namespace millrace
