#include "kernels/rms_norm/rms_norm.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace millrace {
namespace {

using torch::Tensor;

// The heads of a token are rows of a fused projection.
TEST(RmsNorm, RowsMayBePartsOfWiderOnes) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    torch::manual_seed(1);
    const Tensor projection = torch::randn({7, 50}).to(type), weight = torch::randn({10}).to(type);
    const Tensor heads = projection.narrow(1, 20, 30).unflatten(1, {3, 10});
    const Tensor out = torch::zeros({7, 40}, type), y = out.narrow(1, 10, 30).unflatten(1, {3, 10});
    rms_norm_forward(heads, weight, 1e-6, y, {});
    const Tensor exact = rms_norm_reference(heads.to(torch::kFloat64), weight.to(torch::kFloat64), 1e-6);
    EXPECT_TRUE(torch::allclose(y.to(torch::kFloat64), exact, type == torch::kFloat32 ? 1e-5 : 0x1p-8, 1e-6));
    EXPECT_EQ(torch::count_nonzero(out.narrow(1, 0, 10)).item<int64_t>(), 0);
  }
}

TEST(RmsNorm, GradientsGrowInPlaceOrReplaceTheirInput) {
  torch::manual_seed(2);
  const Tensor x = torch::randn({33, 20}), weight = torch::randn({20}), dy = torch::randn({33, 20});
  const Tensor y = torch::empty_like(x), rstd = torch::empty({33}), dx = torch::empty_like(x);
  const Tensor dweight = torch::empty({20});
  rms_norm_forward(x, weight, 1e-5, y, rstd);
  rms_norm_backward(dy, x, weight, rstd, dx, false, dweight, false);
  const Tensor grown = torch::ones_like(x), grown_weight = torch::ones({20});
  rms_norm_backward(dy, x, weight, rstd, grown, true, grown_weight, true);
  EXPECT_TRUE(torch::allclose(grown, dx + 1, 1e-6, 1e-6));
  EXPECT_TRUE(torch::allclose(grown_weight, dweight + 1, 1e-6, 1e-6));
  const Tensor over_dy = dy.clone();
  rms_norm_backward(over_dy, x, weight, rstd, over_dy, false, {}, false);  // a frozen norm
  EXPECT_TRUE(torch::equal(over_dy, dx));
}

TEST(RmsNorm, TheSumMayReplaceEitherPart) {
  torch::manual_seed(3);
  const Tensor x = torch::randn({5, 12}), branch = torch::randn({5, 12}), weight = torch::randn({12});
  const Tensor sum = torch::empty_like(x), y = torch::empty_like(x), y2 = torch::empty_like(x);
  add_rms_norm_forward(x, branch, weight, 1e-5, sum, y, {});
  EXPECT_TRUE(torch::equal(sum, x + branch));
  const Tensor over_branch = branch.clone(), over_x = x.clone();
  add_rms_norm_forward(x, over_branch, weight, 1e-5, over_branch, y2, {});
  EXPECT_TRUE(torch::equal(over_branch, sum) && torch::equal(y2, y));
  add_rms_norm_forward(over_x, branch, weight, 1e-5, over_x, y2, {});
  EXPECT_TRUE(torch::equal(over_x, sum) && torch::equal(y2, y));
}

TEST(RmsNorm, RefusesShapesThatDoNotFit) {
  const Tensor x = torch::zeros({2, 3, 4});
  EXPECT_THROW(rms_norm_forward(x, torch::zeros({5}), 1e-5, x, {}), LogicError);
  EXPECT_THROW(rms_norm_forward(x, torch::zeros({4}), 1e-5, x, torch::zeros({5})), LogicError);
  EXPECT_THROW(add_rms_norm_forward(x, torch::zeros({2, 3, 5}), torch::zeros({4}), 1e-5, x, x, {}), LogicError);
}

}  // namespace
}  // namespace millrace
