#include "adapters/input_dropout.h"

#include <gtest/gtest.h>

#include "adapters/adapter_test_support.h"
#include "adapters/lora.h"

namespace millrace {
namespace {

constexpr int64_t kManyRows = 40;

std::shared_ptr<Lora> random_lora() {
  torch::manual_seed(4);
  const auto lora = std::make_shared<Lora>(kIn, kOut, kRank, 0.5);
  lora->down_RK.set_data(torch::randn({kRank, kIn}));
  lora->up_NR.set_data(torch::randn({kOut, kRank}));
  for (torch::Tensor* parameter : {&lora->down_RK, &lora->up_NR}) {
    parameter->mutable_grad() = torch::zeros_like(*parameter);
  }
  return lora;
}

RandomStream stream_of(uint64_t id) {
  return random_stream(1, RandomPurpose::kAugmentation, 0, id);
}

TEST(InputDropout, LeavesOutItsPartAndScalesTheRest) {
  const InputDropout dropout(random_lora(), 0.25, stream_of(1)), other(random_lora(), 0.25, stream_of(2));
  const torch::Tensor ones = torch::ones({kManyRows, kIn}), dropped = dropout.drop(ones);
  EXPECT_NEAR(dropped.mean().item<double>(), 1, 0.1);
  const torch::Tensor is_kept = (dropped - 1 / 0.75).abs().lt(1e-6);
  EXPECT_TRUE(is_kept.logical_or(dropped.eq(0)).all().item<bool>());
  EXPECT_TRUE(torch::equal(dropout.drop(ones), dropped));
  EXPECT_FALSE(torch::equal(other.drop(ones), dropped));
}

TEST(InputDropout, HasTheGradientsOfTheMaskedProduct) {
  const std::shared_ptr<Lora> lora = random_lora();
  InputDropout dropout(lora, 0.25, stream_of(1));
  const torch::Tensor mask = dropout.drop(torch::ones({kManyRows, kIn}));
  const torch::Tensor x = torch::randn({kManyRows, kIn}), dy = torch::randn({kManyRows, kOut});

  const auto leaf = [](const torch::Tensor& t) { return t.detach().clone().requires_grad_(); };
  const torch::Tensor x_leaf = leaf(x), down = leaf(lora->down_RK), up = leaf(lora->up_NR);
  const torch::Tensor expected = 0.5 * (x_leaf * mask).matmul(down.t()).matmul(up.t());
  expected.backward(dy);

  torch::Tensor out = torch::zeros({kManyRows, kOut}), dx = torch::zeros({kManyRows, kIn});
  for (const bool keeps : {true, false}) {
    LinearPass pass;
    out.zero_(), dx.zero_(), lora->down_RK.grad().zero_(), lora->up_NR.grad().zero_();
    dropout.complete_forward(out, x, pass);
    if (!keeps) pass = {};
    dropout.add_input_gradient(dx, dy, pass);
    dropout.add_gradients(dy, x, pass);
    EXPECT_TRUE(torch::allclose(out, expected, 1e-4, 1e-5));
    EXPECT_TRUE(torch::allclose(dx, x_leaf.grad(), 1e-4, 1e-5));
    EXPECT_TRUE(torch::allclose(lora->down_RK.grad(), down.grad(), 1e-4, 1e-4));
    EXPECT_TRUE(torch::allclose(lora->up_NR.grad(), up.grad(), 1e-4, 1e-4));
  }
}

}  // namespace
}  // namespace millrace
