#include "adapters/lora.h"
#include "adapters/adapter_test_support.h"

#include <gtest/gtest.h>

#include "nn/joint_linear.h"
#include "nn/linear.h"

namespace millrace {
namespace {

std::shared_ptr<Lora> random_lora(torch::Dtype dtype, bool trained = true) {
  auto lora = std::make_shared<Lora>(kIn, kOut, kRank, kScale);
  for (torch::Tensor& parameter : lora->parameters()) {
    parameter.set_data(torch::randn(parameter.sizes()).to(dtype));
    if (trained) parameter.mutable_grad() = torch::zeros_like(parameter);
  }
  return lora;
}

std::shared_ptr<Linear> random_layer(torch::Dtype dtype) {
  auto layer = std::make_shared<Linear>(kIn, kOut);
  for (torch::Tensor& parameter : layer->parameters()) parameter.set_data(torch::randn(parameter.sizes()).to(dtype));
  return layer;
}

// What autograd makes of the formula in fp64.
struct Expected {
  torch::Tensor y, dx, ddown, dup;
  Expected(const Linear& layer, const Lora& lora, const torch::Tensor& x, const torch::Tensor& dy) {
    const auto leaf = [](const torch::Tensor& t) { return t.detach().to(torch::kFloat64).requires_grad_(); };
    const torch::Tensor input = leaf(x), down = leaf(lora.down_RK), up = leaf(lora.up_NR);
    const torch::Tensor out =
        at::linear(input, layer.weight().dense().to(torch::kFloat64), layer.bias().to(torch::kFloat64)) +
        kScale * at::linear(at::linear(input, down), up);
    out.backward(dy.to(torch::kFloat64));
    y = out.detach(), dx = input.grad(), ddown = down.grad(), dup = up.grad();
  }
};

TEST(Lora, AddsItsProductAndLearnsBesideAFrozenWeight) {
  for (const auto& [dtype, tolerance] : {std::pair{torch::kFloat32, 2e-6}, {torch::kBFloat16, 2e-2}}) {
    torch::manual_seed(1);
    const auto layer = random_layer(dtype);
    const auto lora = random_lora(dtype);
    layer->set_adapter(lora);
    const torch::Tensor x = torch::randn({kRows, kIn}).to(dtype), dy = torch::randn({kRows, kOut}).to(dtype);
    const Expected expected(*layer, *lora, x, dy);
    const torch::NoGradGuard no_grad;
    EXPECT_LT(relative_error(layer->apply(x), expected.y), tolerance);
    EXPECT_LT(relative_error(layer->backward(dy, x), expected.dx), tolerance);
    EXPECT_LT(relative_error(lora->down_RK.grad(), expected.ddown), tolerance);
    EXPECT_LT(relative_error(lora->up_NR.grad(), expected.dup), tolerance);
    EXPECT_FALSE(layer->weight().dense().grad().defined());
    layer->backward(dy, x);
    EXPECT_LT(relative_error(lora->up_NR.grad(), 2 * expected.dup), tolerance);  // gradients add up
  }
}

TEST(Lora, StartsAsTheLayerItselfWhileUpIsZero) {
  torch::manual_seed(2);
  const auto layer = random_layer(torch::kFloat32);
  const torch::NoGradGuard no_grad;
  const torch::Tensor x = torch::randn({kRows, kIn}), before = layer->apply(x);
  const auto lora = random_lora(torch::kFloat32);
  lora->up_NR.zero_();
  layer->set_adapter(lora);
  EXPECT_LT(relative_error(layer->apply(x), before), 1e-6);
}

TEST(Lora, MayBeFrozenItself) {
  torch::manual_seed(3);
  const auto layer = random_layer(torch::kFloat32);
  const auto lora = random_lora(torch::kFloat32, /*trained=*/false);
  layer->set_adapter(lora);
  const torch::NoGradGuard no_grad;
  const torch::Tensor x = torch::randn({kRows, kIn}), dy = torch::randn({kRows, kOut});
  EXPECT_LT(relative_error(layer->backward(dy, x),
                           at::matmul(dy, layer->weight().dense() + kScale * at::matmul(lora->up_NR, lora->down_RK))),
            2e-6);
  EXPECT_FALSE(lora->down_RK.grad().defined());
}

}  // namespace
}  // namespace millrace
