#include "adapters/dora.h"
#include "adapters/adapter_test_support.h"

#include <gtest/gtest.h>

#include "nn/gemm.h"
#include "nn/linear.h"

namespace millrace {
namespace {

// A weight that gives products and never its matrix, as a quantised one does.
class HiddenWeight : public LinearWeight {
 public:
  explicit HiddenWeight(torch::Tensor weight_NK) : weight_NK_(std::move(weight_NK)) {}
  int64_t in_features() const override { return weight_NK_.size(1); }
  int64_t out_features() const override { return weight_NK_.size(0); }
  std::vector<std::pair<std::string, torch::Tensor>> tensors() const override { return {{"weight", weight_NK_}}; }
  void forward(torch::Tensor& out_MN, const torch::Tensor& x_MK) const override { gemm(out_MN, x_MK, weight_NK_.t()); }
  void backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, bool accumulate) const override {
    gemm(dx_MK, dy_MN, weight_NK_, accumulate);
  }
  void backward_weight(const torch::Tensor&, const torch::Tensor&) override {}

 private:
  torch::Tensor weight_NK_;
};

struct AdaptedLayer {
  explicit AdaptedLayer(torch::Dtype dtype, bool hidden = false) {
    torch::manual_seed(1);
    weight = torch::randn({kOut, kIn}).to(dtype);
    layer = std::make_shared<Linear>(std::make_unique<HiddenWeight>(weight), /*with_bias=*/false);
    if (!hidden) {
      layer = std::make_shared<Linear>(kIn, kOut, /*with_bias=*/false);
      layer->weight().dense().set_data(weight);
    }
    dora = std::make_shared<Dora>(layer->weight(), kRank, kScale);
    for (torch::Tensor& parameter : dora->parameters()) {
      parameter.set_data(torch::randn(parameter.sizes()).to(dtype));
      parameter.mutable_grad() = torch::zeros_like(parameter);
    }
    layer->set_adapter(dora);
  }
  torch::Tensor weight;
  std::shared_ptr<Linear> layer;
  std::shared_ptr<Dora> dora;
};

// What autograd makes of the formula in fp64, the norm a constant.
TEST(Dora, TurnsRowsAndLearnsTheirLengths) {
  for (const bool hidden : {false, true}) {
    for (const auto& [dtype, tolerance] : {std::pair{torch::kFloat32, 2e-6}, {torch::kBFloat16, 2e-2}}) {
      const AdaptedLayer adapted(dtype, hidden);
      const torch::Tensor x = torch::randn({kRows, kIn}).to(dtype), dy = torch::randn({kRows, kOut}).to(dtype);
      const auto leaf = [](const torch::Tensor& t) { return t.detach().to(torch::kFloat64).requires_grad_(); };
      const torch::Tensor input = leaf(x), down = leaf(adapted.dora->down_RK), up = leaf(adapted.dora->up_NR),
                          magnitude = leaf(adapted.dora->magnitude_N);
      const torch::Tensor turned = adapted.weight.to(torch::kFloat64) + kScale * at::mm(up, down);
      const torch::Tensor factor = magnitude / turned.norm(2, 1).detach();
      const torch::Tensor y = at::linear(input, turned) * factor;
      y.backward(dy.to(torch::kFloat64));

      const torch::NoGradGuard no_grad;
      EXPECT_LT(relative_error(adapted.layer->apply(x), y), tolerance);
      EXPECT_LT(relative_error(adapted.dora->row_norms(), turned.norm(2, 1)), tolerance);
      EXPECT_LT(relative_error(adapted.layer->backward(dy, x), input.grad()), tolerance);
      EXPECT_LT(relative_error(adapted.dora->down_RK.grad(), down.grad()), tolerance);
      EXPECT_LT(relative_error(adapted.dora->up_NR.grad(), up.grad()), tolerance);
      EXPECT_LT(relative_error(adapted.dora->magnitude_N.grad(), magnitude.grad()), tolerance);
    }
  }
}

// Of q in a layer of q, k and v: whatever the other rows are.
TEST(Dora, OfSomeOutputsIsThatOfALayerOfTheseAlone) {
  constexpr int64_t kBegin = 3, kSize = 5;
  for (const bool hidden : {false, true}) {
    const AdaptedLayer whole(torch::kFloat32, hidden);
    Dora part(whole.layer->weight(), kBegin, kSize, kRank, kScale);
    const auto own_layer = std::make_shared<Linear>(kIn, kSize, /*with_bias=*/false);
    own_layer->weight().dense().set_data(whole.weight.narrow(0, kBegin, kSize).clone());
    Dora alone(own_layer->weight(), kRank, kScale);
    for (Dora* dora : {&part, &alone}) {
      torch::manual_seed(8);
      for (torch::Tensor& parameter : dora->parameters()) {
        parameter.set_data(torch::randn(parameter.sizes()));
        parameter.mutable_grad() = torch::zeros_like(parameter);
      }
    }
    const torch::NoGradGuard no_grad;
    EXPECT_LT(relative_error(part.row_norms(), alone.row_norms()), 2e-6);
    const torch::Tensor x = torch::randn({kRows, kIn}), dy = torch::randn({kRows, kSize});
    torch::Tensor out = at::linear(x, whole.weight).narrow(1, kBegin, kSize), expected = out.clone();
    LinearPass pass, expected_pass;
    part.complete_forward(out, x, pass);
    alone.complete_forward(expected, x, expected_pass);
    EXPECT_LT(relative_error(out, expected), 2e-6);
    part.add_gradients(dy, x, pass);
    alone.add_gradients(dy, x, expected_pass);
    EXPECT_LT(relative_error(part.magnitude_N.grad(), alone.magnitude_N.grad()), 2e-6);
    EXPECT_LT(relative_error(part.down_RK.grad(), alone.down_RK.grad()), 2e-6);
  }
}

// The gradient of the magnitudes alone is that of the function: there the norm is a constant.
TEST(Dora, MagnitudesGradientMatchesFiniteDifferences) {
  const AdaptedLayer adapted(torch::kFloat32);
  const torch::Tensor x = torch::randn({kRows, kIn}), dy = torch::randn({kRows, kOut});
  const auto loss = [&] {
    const torch::NoGradGuard no_grad;
    return (adapted.layer->apply(x) * dy).sum().item<double>();
  };
  loss();
  adapted.layer->backward(dy, x);
  const torch::Tensor gradient = adapted.dora->magnitude_N.grad().clone(), before = adapted.dora->magnitude_N.clone();
  const double size = gradient.norm().item<double>(), step = 1e-2;
  const torch::NoGradGuard no_grad;
  adapted.dora->magnitude_N.copy_(before + gradient * (step / size));
  const double above = loss();
  adapted.dora->magnitude_N.copy_(before - gradient * (step / size));
  EXPECT_NEAR((above - loss()) / (2 * step), size, 1e-3 * size);
}

TEST(Dora, StrengthIsTheWayFromTheLayerToTheAdaptedOne) {
  const AdaptedLayer adapted(torch::kFloat32);
  const torch::NoGradGuard no_grad;
  const torch::Tensor x = torch::randn({kRows, kIn}), whole = adapted.layer->apply(x);
  const torch::Tensor own = at::linear(x, adapted.weight);
  adapted.dora->set_strength(0.25);
  EXPECT_LT(relative_error(adapted.layer->apply(x), own + 0.25 * (whole - own)), 2e-6);
  adapted.dora->set_strength(0);
  EXPECT_LT(relative_error(adapted.layer->apply(x), own), 2e-6);
  const torch::Tensor dy = torch::randn({kRows, kOut});
  EXPECT_LT(relative_error(adapted.layer->backward(dy, x), at::mm(dy, adapted.weight)), 2e-6);
  EXPECT_EQ(adapted.dora->up_NR.grad().count_nonzero().item<int64_t>(), 0);
}

}  // namespace
}  // namespace millrace
