// A linear layer through its verbs: trained, frozen, adapted, stored otherwise, and several as one.
#include <gtest/gtest.h>
#include <torch/types.h>

#include "kernels/op_check.h"
#include "nn/joint_linear.h"
#include "nn/linear.h"

namespace millrace {
namespace {

void place(Linear& layer, const torch::Tensor& weight_NK, const torch::Tensor& bias_N) {
  layer.plain_weight().set_data(weight_NK);
  if (layer.bias().defined()) layer.bias().set_data(bias_N);
}

void make_trained(Linear& layer) {
  for (torch::Tensor& parameter : layer.parameters()) parameter.mutable_grad() = torch::ones_like(parameter);
}

// y = factor_N * (x W^T), then + v (x u^T): an adapter that also scales, as DoRA does.
struct ScaledRankOne : LinearAdapter {
  torch::Tensor factor_N, v_N, u_K, dfactor_N, dv_N, du_K, product_MN;

  void complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass& pass) const override {
    pass.down_MR = at::mv(x_MK, u_K).unsqueeze(1);
    out_MN.mul_(factor_N).add_(pass.down_MR * v_N);
  }
  torch::Tensor base_gradient(const torch::Tensor& dy_MN) const override { return dy_MN * factor_N; }
  void add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass& pass) const override {
    pass.ddown_MR = at::mv(dy_MN, v_N).unsqueeze(1);
    dx_MK.add_(pass.ddown_MR * u_K);
  }
  void add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) override {
    const torch::Tensor down_M1 = pass.down_MR.defined() ? pass.down_MR : at::mv(x_MK, u_K).unsqueeze(1);
    const torch::Tensor ddown_M1 = pass.ddown_MR.defined() ? pass.ddown_MR : at::mv(dy_MN, v_N).unsqueeze(1);
    dv_N = (dy_MN * down_M1).sum(0);
    du_K = (x_MK * ddown_M1).sum(0);
  }
};

std::shared_ptr<ScaledRankOne> random_adapter(int64_t in_features, int64_t out_features) {
  const auto adapter = std::make_shared<ScaledRankOne>();
  adapter->factor_N = torch::rand({out_features}) + 0.5;
  adapter->v_N = torch::randn({out_features});
  adapter->u_K = torch::randn({in_features});
  return adapter;
}

torch::Tensor merged_weight(const torch::Tensor& weight_NK, const ScaledRankOne& adapter) {
  return adapter.factor_N.unsqueeze(1) * weight_NK + at::outer(adapter.v_N, adapter.u_K);
}

// Eight bits and a factor per row, unpacked row by row inside the product: no dense matrix ever exists.
class ByteWeight : public LinearWeight {
 public:
  explicit ByteWeight(const torch::Tensor& weight_NK)
      : factor_N_(weight_NK.abs().amax(1) / 127),
        bytes_NK_((weight_NK / factor_N_.unsqueeze(1)).round().to(at::kChar)) {}
  int64_t in_features() const override { return bytes_NK_.size(1); }
  int64_t out_features() const override { return bytes_NK_.size(0); }
  std::vector<std::pair<std::string, torch::Tensor>> tensors() const override {
    return {{"weight_int8", bytes_NK_}, {"weight_scale", factor_N_}};
  }
  torch::Tensor row(int64_t n) const { return bytes_NK_[n].to(torch::kFloat32) * factor_N_[n]; }
  void forward(torch::Tensor& out_MN, const torch::Tensor& x_MK) const override {
    for (int64_t n = 0; n < out_features(); ++n) out_MN.select(1, n).copy_(at::mv(x_MK, row(n)));
  }
  void backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, bool accumulate) const override {
    if (!accumulate) dx_MK.zero_();
    for (int64_t n = 0; n < out_features(); ++n) dx_MK.add_(at::outer(dy_MN.select(1, n), row(n)));
  }
  void backward_weight(const torch::Tensor&, const torch::Tensor&) override {}

 private:
  torch::Tensor factor_N_, bytes_NK_;
};

TEST(Linear, BackwardAddsToTheGradients) {
  torch::manual_seed(3);
  Linear layer(6, 4);
  place(layer, torch::randn({4, 6}), torch::randn({4}));
  make_trained(layer);
  const torch::NoGradGuard no_grad;
  const torch::Tensor weight_NK = layer.plain_weight(), x = torch::randn({5, 6}), dy = torch::randn({5, 4});
  EXPECT_LT(relative_error(layer.apply(x), at::linear(x, weight_NK, layer.bias())), 1e-6);
  EXPECT_LT(relative_error(layer.backward(dy, x), at::matmul(dy, weight_NK)), 1e-6);
  EXPECT_LT(relative_error(weight_NK.grad(), 1 + at::matmul(dy.t(), x)), 1e-6);
  EXPECT_LT(relative_error(layer.bias_gradient(), 1 + dy.sum(0)), 1e-6);
  torch::Tensor dx = torch::ones({5, 6});
  layer.backward_input(dx, dy, /*accumulate=*/true);
  EXPECT_LT(relative_error(dx, 1 + at::matmul(dy, weight_NK)), 1e-6);
}

TEST(Linear, AFrozenLayerHasTheSameInputGradientAndNoOther) {
  torch::manual_seed(4);
  Linear trained(600, 500), frozen(600, 500);
  place(trained, torch::randn({500, 600}), torch::randn({500}));
  place(frozen, trained.plain_weight().clone(), trained.bias().clone());
  make_trained(trained);
  const torch::NoGradGuard no_grad;
  const torch::Tensor x = torch::randn({70, 600}), dy = torch::randn({70, 500});
  EXPECT_TRUE(frozen.apply(x).equal(trained.apply(x)));
  EXPECT_TRUE(frozen.backward(dy, x).equal(trained.backward(dy, x)));
  EXPECT_FALSE(frozen.backward(dy, x, /*wants_dx=*/false).defined());
  EXPECT_FALSE(frozen.plain_weight().grad().defined());
  EXPECT_FALSE(frozen.bias_gradient().defined());
}

TEST(Linear, AnAdapterCompletesEveryProduct) {
  torch::manual_seed(5);
  const int64_t rows = 5, in = 6, out = 4;
  Linear layer(in, out), merged(in, out);
  const torch::Tensor weight_NK = torch::randn({out, in}), bias_N = torch::randn({out});
  place(layer, weight_NK, bias_N);
  const auto adapter = random_adapter(in, out);
  place(merged, merged_weight(weight_NK, *adapter), bias_N);
  layer.set_adapter(adapter);
  make_trained(layer);
  const torch::NoGradGuard no_grad;
  const torch::Tensor x = torch::randn({rows, in}), dy = torch::randn({rows, out}),
                      residual = torch::randn({rows, out});
  EXPECT_FALSE(layer.plain_weight().defined());
  EXPECT_LT(relative_error(layer.apply(x, residual), merged.apply(x, residual)), 1e-6);
  EXPECT_LT(relative_error(layer.backward(dy, x), merged.backward(dy, x)), 1e-6);
  EXPECT_LT(relative_error(layer.weight().dense().grad(), 1 + at::matmul((dy * adapter->factor_N).t(), x)), 1e-6);
  EXPECT_LT(relative_error(adapter->dv_N, (dy * at::mv(x, adapter->u_K).unsqueeze(1)).sum(0)), 1e-6);

  // What is kept between the calls spares work and changes nothing.
  const torch::Tensor dv_N = adapter->dv_N, du_K = adapter->du_K;
  LinearPass pass;
  torch::Tensor y = torch::empty({rows, out}), dx = torch::empty({rows, in});
  layer.forward(y, x, &pass);
  EXPECT_TRUE(pass.down_MR.defined());
  layer.backward_input(dx, dy, /*accumulate=*/false, &pass);
  layer.backward_weight(dy, x, &pass);
  EXPECT_TRUE(adapter->dv_N.equal(dv_N));
  EXPECT_TRUE(adapter->du_K.equal(du_K));

  layer.set_adapter(nullptr);
  EXPECT_LT(relative_error(layer.apply(x), at::linear(x, weight_NK, bias_N)), 1e-6);
}

TEST(Linear, AnotherStorageTakesTheSameCalls) {
  torch::manual_seed(6);
  const torch::Tensor weight_NK = torch::randn({9, 7});
  Linear layer(std::make_unique<ByteWeight>(weight_NK), /*with_bias=*/true);
  layer.bias().set_data(torch::randn({9}));
  EXPECT_EQ(layer.named_parameters().keys(), (std::vector<std::string>{"weight_int8", "weight_scale", "bias"}));
  EXPECT_EQ(layer.in_features(), 7);
  const torch::NoGradGuard no_grad;
  const torch::Tensor x = torch::randn({2, 3, 7}), dy = torch::randn({6, 9});
  EXPECT_LT(relative_error(layer.apply(x), at::linear(x, weight_NK, layer.bias())), 1e-2);
  EXPECT_LT(relative_error(layer.backward(dy, x.flatten(0, 1)), at::matmul(dy, weight_NK)), 1e-2);
}

// Three layers over one buffer, weights first, as FlatParameters packs a unit; or apart.
class JointLayers : public testing::TestWithParam<bool> {
 protected:
  JointLayers() {
    torch::manual_seed(7);
    const torch::Tensor buffer = torch::randn({kOut * kIn + kOut}), gradients = torch::zeros_like(buffer);
    int64_t row = 0;
    for (const int64_t rows : {8, 3, 5}) {
      auto layer = std::make_shared<Linear>(kIn, rows);
      const auto weight_of = [&](const torch::Tensor& all) {
        return all.narrow(0, row * kIn, rows * kIn).view({rows, kIn});
      };
      const auto bias_of = [&](const torch::Tensor& all) { return all.narrow(0, kOut * kIn + row, rows); };
      place(*layer, GetParam() ? weight_of(buffer) : weight_of(buffer).clone(), bias_of(buffer));
      layer->plain_weight().mutable_grad() = weight_of(gradients);
      layer->bias().mutable_grad() = bias_of(gradients);
      layers_.push_back(std::move(layer));
      row += rows;
    }
    dweight_ = gradients.narrow(0, 0, kOut * kIn).view({kOut, kIn});
    dbias_ = gradients.narrow(0, kOut * kIn, kOut);
  }
  // All layers' matrices, with adapters merged.
  torch::Tensor weight() const {
    std::vector<torch::Tensor> parts;
    for (const auto& layer : layers_) {
      const auto* adapter = dynamic_cast<const ScaledRankOne*>(layer->adapter());
      parts.push_back(adapter ? merged_weight(layer->weight().dense(), *adapter) : layer->weight().dense());
    }
    return at::cat(parts);
  }
  torch::Tensor bias() const { return at::cat({layers_[0]->bias(), layers_[1]->bias(), layers_[2]->bias()}); }

  static constexpr int64_t kIn = 6, kOut = 16, kRows = 5;
  std::vector<std::shared_ptr<Linear>> layers_;
  torch::Tensor dweight_, dbias_;
};

TEST_P(JointLayers, AreOneLargeLayer) {
  const torch::NoGradGuard no_grad;
  JointLinear joint(layers_);
  const torch::Tensor x = torch::randn({kRows, kIn}), dy = torch::randn({kRows, kOut});
  EXPECT_EQ(joint.out_features(), kOut);
  EXPECT_LT(relative_error(joint.apply(x), at::linear(x, weight(), bias())), 1e-6);
  EXPECT_LT(relative_error(joint.apply_each(x.unsqueeze(0))[1], layers_[1]->apply(x.unsqueeze(0))), 1e-6);
  EXPECT_LT(relative_error(joint.backward(dy, x), at::matmul(dy, weight())), 1e-6);
  EXPECT_LT(relative_error(dweight_, at::matmul(dy.t(), x)), 1e-6);
  EXPECT_LT(relative_error(dbias_, dy.sum(0)), 1e-6);
}

TEST_P(JointLayers, SomeMayBeAdaptedAndSomeFrozen) {
  const torch::NoGradGuard no_grad;
  const auto adapter = random_adapter(kIn, 3);
  layers_[1]->set_adapter(adapter);
  layers_[0]->weight().dense().mutable_grad() = torch::Tensor();
  layers_[0]->bias().mutable_grad() = torch::Tensor();
  JointLinear joint(layers_);
  EXPECT_TRUE(joint.is_adapted());
  const torch::Tensor x = torch::randn({kRows, kIn}), dy = torch::randn({kRows, kOut});
  EXPECT_LT(relative_error(joint.apply(x), at::linear(x, weight(), bias())), 1e-6);
  EXPECT_LT(relative_error(joint.backward(dy, x), at::matmul(dy, weight())), 1e-6);
  EXPECT_EQ(dweight_.narrow(0, 0, 8).abs().max().item<float>(), 0);
  EXPECT_LT(relative_error(dweight_.narrow(0, 11, 5), at::matmul(dy.narrow(1, 11, 5).t(), x)), 1e-6);
  EXPECT_LT(relative_error(dbias_.narrow(0, 8, 8), dy.narrow(1, 8, 8).sum(0)), 1e-6);
  EXPECT_LT(relative_error(adapter->du_K, (x * at::mv(dy.narrow(1, 8, 3), adapter->v_N).unsqueeze(1)).sum(0)), 1e-6);
}

TEST_P(JointLayers, MakeAGraphLayerByLayer) {
  for (const auto& layer : layers_) layer->weight().dense().set_requires_grad(true);
  const torch::Tensor x = torch::randn({kRows, kIn}, torch::requires_grad());
  const std::vector<torch::Tensor> parts = JointLinear(layers_).apply_each(x);
  at::cat(parts, 1).sum().backward();
  EXPECT_LT(relative_error(x.grad(), weight().detach().sum(0).expand_as(x)), 1e-6);
  EXPECT_LT(relative_error(dweight_, x.detach().sum(0).expand_as(dweight_)), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Placed, JointLayers, testing::Bool(),
                         [](const auto& placed) { return placed.param ? "OneBuffer" : "Apart"; });

}  // namespace
}  // namespace millrace
