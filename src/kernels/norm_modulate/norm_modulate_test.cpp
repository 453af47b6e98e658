#include "kernels/norm_modulate/norm_modulate.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace millrace {
namespace {

using torch::Tensor;

struct NormModulateProblem {
  Tensor x, shift, scale, dy;
  explicit NormModulateProblem(int64_t batch = 2, int64_t length = 40, int64_t dim = 50,
                               torch::ScalarType type = torch::kFloat32)
      : x(torch::randn({batch, length, dim}).to(type)),
        shift(torch::randn({batch, dim}).to(type)),
        scale(torch::randn({batch, dim}).to(type)),
        dy(torch::randn({batch, length, dim}).to(type)) {}

  Tensor empty_stats() const { return torch::empty({x.size(0), x.size(1)}); }
};

struct Gradients {
  Tensor dx, dshift, dscale;
};

Gradients run_backward(const NormModulateProblem& p) {
  const Tensor y = torch::empty_like(p.x), mean = p.empty_stats(), rstd = p.empty_stats();
  norm_modulate_forward(p.x, p.shift, p.scale, 1e-6, y, mean, rstd);
  const Gradients g{torch::empty_like(p.x), torch::empty_like(p.shift), torch::empty_like(p.scale)};
  norm_modulate_backward(p.dy, p.x, p.scale, mean, rstd, g.dx, false, g.dshift, g.dscale);
  return g;
}

TEST(NormModulate, SavesTheMomentsOfEveryRow) {
  torch::manual_seed(1);
  const NormModulateProblem p;
  const Tensor y = torch::empty_like(p.x), mean = p.empty_stats(), rstd = p.empty_stats();
  norm_modulate_forward(p.x, p.shift, p.scale, 1e-6, y, mean, rstd);
  EXPECT_TRUE(torch::allclose(mean, p.x.mean(-1), 1e-5, 1e-6));
  EXPECT_TRUE(torch::allclose(rstd, torch::rsqrt(p.x.var(-1, /*unbiased=*/false) + 1e-6), 1e-5));
}

// Tokens of two streams side by side in one buffer, modulations as slices of one tensor for all blocks.
TEST(NormModulate, RowsAndModulationsMayBeSlicesOfLargerTensors) {
  torch::manual_seed(2);
  const NormModulateProblem p;
  const Tensor joint = torch::randn({2, 65, 70}), modulations = torch::randn({2, 500});
  const Tensor x = joint.narrow(1, 25, 40).narrow(2, 3, 50);
  const Tensor shift = modulations.narrow(1, 7, 50), scale = modulations.narrow(1, 57, 50);
  x.copy_(p.x);
  shift.copy_(p.shift);
  scale.copy_(p.scale);
  const Tensor before = joint.clone();

  const Tensor dense = torch::empty_like(p.x), mean = p.empty_stats(), rstd = p.empty_stats();
  norm_modulate_forward(p.x, p.shift, p.scale, 1e-6, dense, mean, rstd);
  const Tensor wide = torch::zeros({2, 65, 70}), y = wide.narrow(1, 25, 40).narrow(2, 3, 50);
  norm_modulate_forward(x, shift, scale, 1e-6, y, mean, rstd);
  EXPECT_TRUE(torch::equal(y, dense));
  EXPECT_EQ(torch::count_nonzero(wide).item<int64_t>(), torch::count_nonzero(dense).item<int64_t>());
  EXPECT_TRUE(torch::equal(joint, before));

  const Gradients expected = run_backward(p);
  const Tensor dmodulations = torch::zeros({2, 500});
  const Tensor dx = torch::zeros({2, 65, 70}).narrow(1, 25, 40).narrow(2, 3, 50);
  norm_modulate_backward(p.dy, x, scale, mean, rstd, dx, false, dmodulations.narrow(1, 7, 50),
                         dmodulations.narrow(1, 57, 50));
  EXPECT_TRUE(torch::equal(dx, expected.dx));
  EXPECT_TRUE(torch::equal(dmodulations.narrow(1, 7, 50), expected.dshift));
  EXPECT_TRUE(torch::equal(dmodulations.narrow(1, 57, 50), expected.dscale));
  EXPECT_EQ(dmodulations.narrow(1, 107, 393).abs().sum().item<float>(), 0);
}

TEST(NormModulate, AddsToAGradientThatIsThere) {
  torch::manual_seed(3);
  const NormModulateProblem p;
  const Tensor y = torch::empty_like(p.x), mean = p.empty_stats(), rstd = p.empty_stats();
  norm_modulate_forward(p.x, p.shift, p.scale, 1e-6, y, mean, rstd);
  const Gradients expected = run_backward(p);
  const Tensor residual = torch::randn_like(p.x), dx = residual.clone();
  norm_modulate_backward(p.dy, p.x, p.scale, mean, rstd, dx, true, torch::empty_like(p.shift),
                         torch::empty_like(p.scale));
  EXPECT_TRUE(torch::allclose(dx, residual + expected.dx, 1e-5, 1e-6));
}

TEST(NormModulate, WorksInPlace) {
  torch::manual_seed(4);
  const NormModulateProblem p;
  const Gradients expected = run_backward(p);
  const Tensor y = torch::empty_like(p.x), mean = p.empty_stats(), rstd = p.empty_stats();
  norm_modulate_forward(p.x, p.shift, p.scale, 1e-6, y, mean, rstd);
  const Tensor in_place = p.x.clone();
  norm_modulate_forward(in_place, p.shift, p.scale, 1e-6, in_place, {}, {});
  EXPECT_TRUE(torch::equal(in_place, y));
  const Tensor dx = p.dy.clone();
  norm_modulate_backward(dx, p.x, p.scale, mean, rstd, dx, false, torch::empty_like(p.shift),
                         torch::empty_like(p.scale));
  EXPECT_TRUE(torch::equal(dx, expected.dx));
}

// bf16 activations with fp32 modulations and fp32 sums: each tensor's own type counts.
TEST(NormModulate, ModulationsMayBeOfAnotherType) {
  torch::manual_seed(5);
  const NormModulateProblem p(2, 40, 50, torch::kBFloat16);
  const Tensor shift = p.shift.to(torch::kFloat32), scale = p.scale.to(torch::kFloat32);
  const Tensor y = torch::empty_like(p.x), mixed = torch::empty_like(p.x);
  const Tensor mean = p.empty_stats(), rstd = p.empty_stats();
  norm_modulate_forward(p.x, p.shift, p.scale, 1e-6, y, mean, rstd);
  norm_modulate_forward(p.x, shift, scale, 1e-6, mixed, mean, rstd);
  EXPECT_TRUE(torch::equal(y, mixed));
  const Gradients expected = run_backward(p);
  const Tensor dshift = torch::empty_like(shift), dscale = torch::empty_like(scale);
  norm_modulate_backward(p.dy, p.x, scale, mean, rstd, torch::empty_like(p.x), false, dshift, dscale);
  EXPECT_TRUE(torch::equal(dshift.to(torch::kBFloat16), expected.dshift));
  EXPECT_TRUE(torch::equal(dscale.to(torch::kBFloat16), expected.dscale));
}

TEST(NormModulate, SmallAndEmptyShapesWork) {
  for (const auto& [batch, length, dim] : {std::tuple{1, 1, 1}, {3, 1, 5}, {1, 7, 16}, {2, 0, 8}}) {
    torch::manual_seed(6);
    const NormModulateProblem p(batch, length, dim);
    const Tensor y = norm_modulate(p.x, p.shift, p.scale);
    EXPECT_TRUE(torch::allclose(y, norm_modulate_reference(p.x, p.shift, p.scale), 1e-4, 1e-5));
    EXPECT_EQ(run_backward(p).dshift.sum().isfinite().item<bool>(), true);
  }
}

TEST(NormModulate, ALargeOffsetDoesNotCancel) {
  torch::manual_seed(7);
  NormModulateProblem p;
  p.x = p.x + 1000;
  const Tensor exact =
      norm_modulate_reference(p.x.to(torch::kFloat64), p.shift.to(torch::kFloat64), p.scale.to(torch::kFloat64));
  EXPECT_LE((norm_modulate(p.x, p.shift, p.scale) - exact).abs().max().item<double>(), 1e-3);
}

TEST(NormModulate, RefusesShapesThatDoNotFit) {
  const NormModulateProblem p;
  const Tensor y = torch::empty_like(p.x);
  EXPECT_THROW(norm_modulate_forward(p.x, p.shift.narrow(1, 0, 49), p.scale, 1e-6, y, {}, {}), LogicError);
  EXPECT_THROW(norm_modulate_forward(p.x, p.shift, p.scale, 1e-6, y.narrow(1, 0, 39), {}, {}), LogicError);
  EXPECT_THROW(norm_modulate_forward(p.x, p.shift, p.scale, 1e-6, y.to(torch::kBFloat16), {}, {}), LogicError);
  EXPECT_THROW(norm_modulate_forward(p.x.transpose(1, 2), p.shift, p.scale, 1e-6, y, {}, {}), LogicError);
}

}  // namespace
}  // namespace millrace
