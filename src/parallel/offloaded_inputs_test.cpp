#include "parallel/offloaded_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nn/device.h"
#include "nn/meta_memory.h"

namespace millrace {
namespace {

using testing::ElementsAre;

constexpr size_t kBlocks = 5;
constexpr size_t kFirstUnit = 1;  // as in a model, whose first unit is no block

// y = tanh(x W), block after block. A backward pass computes y again from x, which is all that a forward pass keeps.
class Chain {
 public:
  explicit Chain(int64_t width, torch::TensorOptions options = {}) {
    torch::manual_seed(6);
    for (size_t i = 0; i < kBlocks; ++i) {
      weights_.push_back((torch::randn({width, width}) / std::sqrt(static_cast<double>(width))).to(options));
    }
  }

  // The output, the input's gradient and those of the weights. offloaded: where inputs are kept; null: in a vector.
  std::vector<torch::Tensor> pass(const torch::Tensor& x, OffloadedInputs* offloaded) {
    std::vector<torch::Tensor> kept(kBlocks);
    if (offloaded) offloaded->start_forward();
    torch::Tensor y = x.clone();
    for (size_t i = 0; i < kBlocks; ++i) {
      kept[i] = y;
      y = at::tanh(at::mm(y, weights_[i]));
      if (offloaded) offloaded->take(kFirstUnit + i, {&kept[i]});
    }
    std::vector<torch::Tensor> results = {y};
    torch::Tensor d = at::ones_like(y);
    if (offloaded) offloaded->start_backward();
    for (size_t i = kBlocks; i-- > 0;) {
      if (offloaded) offloaded->enter(kFirstUnit + i, {&kept[i]});
      const torch::Tensor again = at::tanh(at::mm(kept[i], weights_[i]));
      d = d * (1 - again * again);
      results.push_back(at::mm(kept[i].t(), d));
      d = at::mm(d, weights_[i].t());
      kept[i] = torch::Tensor();
      if (offloaded) offloaded->leave();
    }
    if (offloaded) offloaded->finish_backward();
    results.push_back(d);
    return results;
  }

 private:
  std::vector<torch::Tensor> weights_;
};

void expect_no_bit_changes(Chain& chain, const std::vector<torch::Tensor>& batches, OffloadedInputs& offloaded) {
  for (const torch::Tensor& x : batches) {
    const std::vector<torch::Tensor> expected = chain.pass(x, nullptr), got = chain.pass(x, &offloaded);
    for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(got[i], expected[i])) << i << " of " << x.sizes();
  }
}

TEST(OffloadedInputs, ChangeNoBitInPassesOfAnySize) {
  Chain chain(24);
  OffloadedInputs offloaded(torch::kCPU);
  expect_no_bit_changes(chain, {torch::randn({3, 24}), torch::randn({40, 24}), torch::randn({7, 24})}, offloaded);
}

TEST(OffloadedInputs, AreOnTheDeviceForTwoBlocksAtATime) {
  OffloadedInputs offloaded(torch::kCPU);
  EXPECT_THAT(offloaded.held(), ElementsAre());
  std::vector<torch::Tensor> kept;
  for (int i = 0; i < 4; ++i) kept.push_back(torch::full({2, 3}, i));
  for (size_t unit = 0; unit < 4; ++unit) {
    const c10::weak_intrusive_ptr<c10::TensorImpl> input(kept[unit].getIntrusivePtr());
    offloaded.take(unit, {&kept[unit]});
    EXPECT_FALSE(kept[unit].defined());
    EXPECT_THAT(offloaded.held(), ElementsAre(unit)) << "while the next block computes";
    EXPECT_FALSE(input.expired());
    if (unit > 0) continue;
    torch::Tensor next = torch::ones({1});
    offloaded.take(1, {&next});
    EXPECT_TRUE(input.expired()) << "once that block is done";
  }
  offloaded.start_backward();
  EXPECT_THAT(offloaded.held(), ElementsAre(3)) << "before it is used";
  offloaded.enter(3, {&kept[3]});
  EXPECT_THAT(offloaded.held(), ElementsAre(2, 3)) << "one ahead";
  offloaded.leave();
  offloaded.enter(2, {&kept[2]});
  EXPECT_THAT(offloaded.held(), ElementsAre(1, 2));
  offloaded.leave();
  offloaded.enter(1, {&kept[1]});
  EXPECT_THAT(offloaded.held(), ElementsAre(0, 1));
  EXPECT_TRUE(at::equal(kept[1], torch::full({2, 3}, 1)));
  offloaded.leave();
  offloaded.enter(0, {&kept[0]});
  EXPECT_THAT(offloaded.held(), ElementsAre(0, 1)) << "there is no other";
  EXPECT_TRUE(at::equal(kept[0], torch::full({2, 3}, 0)));
  offloaded.leave();
  offloaded.finish_backward();
  EXPECT_THAT(offloaded.held(), ElementsAre());
}

TEST(OffloadedInputs, OfABlockMayBeSeveral) {
  OffloadedInputs offloaded(torch::kCPU);
  const torch::Tensor narrow = torch::randn({2, 3, 5}).to(torch::kBFloat16), wide = torch::randn({7});
  torch::Tensor a = narrow.clone(), b = wide.clone();
  offloaded.take(3, {&a, &b});
  EXPECT_EQ(offloaded.host_bytes(3), 512) << "each in a multiple of 256";
  EXPECT_EQ(offloaded.host_bytes(2), 0);
  offloaded.start_backward();
  offloaded.enter(3, {&a, &b});
  EXPECT_TRUE(a.dtype() == torch::kBFloat16 && at::equal(a, narrow));
  EXPECT_TRUE(at::equal(b, wide));
}

// An exception skips the rest of a pass.
TEST(OffloadedInputs, ServeAPassAfterAnAbortedOne) {
  Chain chain(8);
  OffloadedInputs offloaded(torch::kCPU);
  torch::Tensor x = torch::randn({2, 8});
  offloaded.start_forward();
  offloaded.take(kFirstUnit, {&x});
  expect_no_bit_changes(chain, {torch::randn({4, 8})}, offloaded);
  x = torch::randn({2, 8});
  offloaded.start_forward();
  for (size_t i = 0; i < kBlocks; ++i) {
    torch::Tensor input = x.clone();
    offloaded.take(kFirstUnit + i, {&input});
  }
  offloaded.start_backward();
  offloaded.enter(kFirstUnit + kBlocks - 1, {&x});
  expect_no_bit_changes(chain, {torch::randn({4, 8})}, offloaded);
}

TEST(OffloadedInputs, OnTheMetaDeviceTakeTheMemoryOfTwoBlocks) {
  MetaMemory memory;
  constexpr int64_t kSize = 1 << 20;
  const auto make = [] { return torch::empty({kSize}, torch::dtype(torch::kUInt8).device(torch::kMeta)); };
  OffloadedInputs offloaded(torch::kMeta);
  std::vector<torch::Tensor> kept(kBlocks);
  torch::Tensor x = make();
  for (size_t i = 0; i < kBlocks; ++i) {
    kept[i] = x;
    x = make();
    offloaded.take(i, {&kept[i]});
  }
  const int64_t few = 64;  // a tensor of a size alone has one element
  EXPECT_NEAR(memory.live().bytes, 2 * kSize, few) << "the output and what is being copied";
  EXPECT_NEAR(memory.peak().bytes, 3 * kSize, few);
  x = torch::Tensor();
  memory.restart_peak();
  offloaded.start_backward();
  for (size_t i = kBlocks; i-- > 0;) {
    offloaded.enter(i, {&kept[i]});
    EXPECT_EQ(kept[i].numel(), kSize);
    kept[i] = torch::Tensor();
    offloaded.leave();
  }
  offloaded.finish_backward();
  EXPECT_NEAR(memory.peak().bytes, 2 * kSize, few);
  EXPECT_NEAR(memory.live().bytes, 0, few);
  EXPECT_EQ(offloaded.host_bytes(0), kSize);
}

// Large enough that a copy which nothing waits for would still be under way.
TEST(OnGpu, OffloadedInputsChangeNoBit) {
  const torch::Device device = resolve_device("cuda");
  const auto options = torch::TensorOptions().dtype(torch::kBFloat16).device(device);
  Chain chain(1024, options);
  OffloadedInputs offloaded(device);
  std::vector<torch::Tensor> batches;
  for (const int64_t rows : {1000, 20000, 20000, 300}) batches.push_back(torch::randn({rows, 1024}, options));
  expect_no_bit_changes(chain, batches, offloaded);
}

}  // namespace
}  // namespace millrace
