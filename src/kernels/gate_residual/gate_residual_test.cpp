#include "kernels/gate_residual/gate_residual.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/norm_modulate/norm_modulate.h"

namespace millrace {
namespace {

using torch::Tensor;

constexpr int64_t kSamples = 2, kLength = 40, kDim = 50;

struct GateResidualProblem {
  Tensor x, y, gate, bias, shift, scale, dout, dn;
  explicit GateResidualProblem(torch::ScalarType type = torch::kFloat32) {
    for (Tensor* rows : {&x, &y, &dout, &dn}) *rows = torch::randn({kSamples, kLength, kDim}).to(type);
    for (Tensor* vector : {&gate, &shift, &scale}) *vector = torch::randn({kSamples, kDim}).to(type);
    bias = torch::randn({kDim}).to(type);
  }
};

// The fused pair is the two ops one after the other, to the last bit.
TEST(GateResidual, TheFusedNormIsTheTwoOpsInSequence) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    torch::manual_seed(1);
    const GateResidualProblem p(type);
    const Tensor out = torch::empty_like(p.x), n = torch::empty_like(p.x);
    const Tensor mean = torch::empty({kSamples, kLength}), rstd = torch::empty_like(mean);
    gate_residual_norm_forward({p.x, p.y, p.gate, p.bias, p.shift, p.scale, 1e-6, out, n, mean, rstd});
    const Tensor out2 = torch::empty_like(p.x), n2 = torch::empty_like(p.x);
    const Tensor mean2 = torch::empty_like(mean), rstd2 = torch::empty_like(mean);
    gate_residual_forward(p.x, p.y, p.gate, p.bias, out2);
    norm_modulate_forward(out2, p.shift, p.scale, 1e-6, n2, mean2, rstd2);
    EXPECT_TRUE(torch::equal(out, out2));
    EXPECT_TRUE(torch::equal(n, n2));
    EXPECT_TRUE(torch::equal(mean, mean2));
    EXPECT_TRUE(torch::equal(rstd, rstd2));
  }
}

TEST(GateResidual, TheFusedBackwardIsTheTwoBackwardsInSequence) {
  torch::manual_seed(2);
  const GateResidualProblem p;
  const Tensor out = torch::empty_like(p.x), n = torch::empty_like(p.x);
  const Tensor mean = torch::empty({kSamples, kLength}), rstd = torch::empty_like(mean);
  gate_residual_norm_forward({p.x, p.y, p.gate, p.bias, p.shift, p.scale, 1e-6, out, n, mean, rstd});

  const Tensor dout = p.dout.clone(), dy = torch::empty_like(p.x), dbias = torch::ones({kDim});
  const Tensor dshift = torch::empty_like(p.shift), dscale = torch::empty_like(p.scale);
  const Tensor dgate = torch::empty_like(p.gate);
  gate_residual_norm_backward({.dn_BLD = p.dn,
                               .out_BLD = out,
                               .scale_BD = p.scale,
                               .mean_BL = mean,
                               .rstd_BL = rstd,
                               .y_BLD = p.y,
                               .gate_BD = p.gate,
                               .bias_D = p.bias,
                               .dout_BLD = dout,
                               .dshift_BD = dshift,
                               .dscale_BD = dscale,
                               .dy_BLD = dy,
                               .dgate_BD = dgate,
                               .dbias_D = dbias});

  const Tensor dout2 = p.dout.clone(), dy2 = torch::empty_like(p.x), dbias2 = torch::ones({kDim});
  const Tensor dshift2 = torch::empty_like(p.shift), dscale2 = torch::empty_like(p.scale);
  const Tensor dgate2 = torch::empty_like(p.gate);
  norm_modulate_backward(p.dn, out, p.scale, mean, rstd, dout2, true, dshift2, dscale2);
  gate_residual_backward(dout2, p.y, p.gate, p.bias, dy2, dgate2, dbias2, true);
  EXPECT_TRUE(torch::allclose(dout, dout2, 1e-6, 1e-6));
  EXPECT_TRUE(torch::allclose(dy, dy2, 1e-6, 1e-6));
  EXPECT_TRUE(torch::allclose(dgate, dgate2, 1e-5, 1e-5));
  EXPECT_TRUE(torch::allclose(dbias, dbias2, 1e-5, 1e-4));
  EXPECT_TRUE(torch::equal(dshift, dshift2));
  EXPECT_TRUE(torch::equal(dscale, dscale2));
}

TEST(GateResidual, WorksInPlaceAndOnSlices) {
  torch::manual_seed(3);
  const GateResidualProblem p;
  const Tensor expected = gate_residual_reference(p.x, p.y, p.gate, p.bias);
  const Tensor joint = torch::randn({kSamples, 60, 64}), x = joint.narrow(1, 20, kLength).narrow(2, 5, kDim);
  x.copy_(p.x);
  const Tensor modulations = torch::randn({kSamples, 300}), gate = modulations.narrow(1, 100, kDim);
  gate.copy_(p.gate);
  gate_residual_forward(x, p.y, gate, p.bias, x);
  EXPECT_TRUE(torch::allclose(x, expected, 1e-6, 1e-6));

  const Tensor y = p.y.clone();
  gate_residual_forward(p.x, y, p.gate, p.bias, y);
  EXPECT_TRUE(torch::equal(y, x));
}

TEST(GateResidual, TheGradientOfYMayReplaceTheIncomingOne) {
  torch::manual_seed(4);
  const GateResidualProblem p;
  const Tensor dy = torch::empty_like(p.x), dgate = torch::empty_like(p.gate), dbias = torch::full({kDim}, 2.0f);
  gate_residual_backward(p.dout, p.y, p.gate, p.bias, dy, dgate, dbias, true);
  EXPECT_TRUE(torch::allclose(dy, p.dout * p.gate.unsqueeze(1)));
  EXPECT_TRUE(torch::allclose(dgate, (p.dout * (p.y + p.bias)).sum(1), 1e-4, 1e-4));
  EXPECT_TRUE(torch::allclose(dbias, 2 + dy.sum(at::IntArrayRef({0, 1})), 1e-4, 1e-4));

  const Tensor replaced = p.dout.clone(), dgate2 = torch::empty_like(p.gate), dbias2 = torch::empty({kDim});
  gate_residual_backward(replaced, p.y, p.gate, p.bias, replaced, dgate2, dbias2, false);
  EXPECT_TRUE(torch::equal(replaced, dy));
  EXPECT_TRUE(torch::equal(dgate2, dgate));
  EXPECT_TRUE(torch::allclose(dbias2, dbias - 2, 1e-4, 1e-4));

  const Tensor dgate3 = torch::empty_like(p.gate);
  gate_residual_backward(p.dout, p.y, p.gate, p.bias, dy, dgate3, {}, false);
  EXPECT_TRUE(torch::equal(dgate3, dgate));
}

TEST(GateResidual, SumsGoIntoSlicesOfEitherType) {
  torch::manual_seed(5);
  const GateResidualProblem p(torch::kBFloat16);
  const Tensor dy = torch::empty_like(p.x);
  const Tensor wide = torch::zeros({kSamples, 200}), dgate = wide.narrow(1, 50, kDim);
  const Tensor dbias = torch::ones({kDim}, torch::kBFloat16);
  gate_residual_backward(p.dout, p.y, p.gate, p.bias, dy, dgate, dbias, true);
  const Tensor dout = p.dout.to(torch::kFloat32);
  EXPECT_TRUE(
      torch::allclose(dgate, (dout * (p.y.to(torch::kFloat32) + p.bias.to(torch::kFloat32))).sum(1), 1e-4, 1e-3));
  EXPECT_TRUE(torch::allclose(dbias.to(torch::kFloat32),
                              1 + (dout * p.gate.to(torch::kFloat32).unsqueeze(1)).sum(at::IntArrayRef({0, 1})), 0x1p-8,
                              1e-3));
  EXPECT_EQ(torch::count_nonzero(wide).item<int64_t>(), torch::count_nonzero(dgate).item<int64_t>());
}

TEST(GateResidual, OneOutputsGradientMayBeMissing) {
  torch::manual_seed(6);
  const GateResidualProblem p;
  const Tensor x = p.x.clone().requires_grad_(true), x2 = p.x.clone().requires_grad_(true);
  std::get<1>(gate_residual_norm(x, p.y, p.gate, p.bias, p.shift, p.scale)).backward(p.dn);
  std::get<1>(gate_residual_norm_reference(x2, p.y, p.gate, p.bias, p.shift, p.scale)).backward(p.dn);
  EXPECT_TRUE(torch::allclose(x.grad(), x2.grad(), 1e-4, 1e-5));
}

TEST(GateResidual, RefusesShapesThatDoNotFit) {
  const GateResidualProblem p;
  EXPECT_THROW(gate_residual_forward(p.x, p.y.narrow(2, 0, 49), p.gate, p.bias, p.x), LogicError);
  EXPECT_THROW(gate_residual_forward(p.x, p.y, p.gate.narrow(0, 0, 1), p.bias, p.x), LogicError);
  EXPECT_THROW(gate_residual_forward(p.x, p.y, p.gate, p.bias.narrow(0, 0, 3), p.x), LogicError);
}

}  // namespace
}  // namespace millrace
