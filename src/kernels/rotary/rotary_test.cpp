#include "kernels/rotary/rotary.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace millrace {
namespace {

using torch::Tensor;

TEST(Rotary, TurnsHeadsWhereTheyAreAndBack) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    torch::manual_seed(1);
    const Tensor angle = torch::randn({9, 7}), cos = angle.cos(), sin = angle.sin();
    const Tensor projection = torch::randn({9, 80}).to(type), before = projection.clone();
    const Tensor heads = projection.narrow(1, 14, 42).unflatten(1, {3, 14});
    const Tensor exact = rotate_reference(heads.to(torch::kFloat64), cos, sin);
    rotate_in_place(heads, cos, sin);
    const double tolerance = type == torch::kFloat32 ? 1e-5 : 0x1p-7;
    EXPECT_TRUE(torch::allclose(heads.to(torch::kFloat64), exact, tolerance, tolerance));
    EXPECT_TRUE(torch::equal(projection.narrow(1, 0, 14), before.narrow(1, 0, 14)));
    EXPECT_TRUE(torch::equal(projection.narrow(1, 56, 24), before.narrow(1, 56, 24)));
    rotate_in_place(heads, cos, sin, /*inverse=*/true);
    EXPECT_TRUE(torch::allclose(projection, before, tolerance, 2 * tolerance));
  }
}

TEST(Rotary, RefusesShapesThatDoNotFit) {
  const Tensor table = torch::zeros({2, 3});
  EXPECT_THROW(rotate_in_place(torch::zeros({2, 1, 5}), table, table), LogicError);
  EXPECT_THROW(rotate_in_place(torch::zeros({2, 1, 8}), table, table), LogicError);
  EXPECT_THROW(rotate_in_place(torch::zeros({2, 6}), table, table), LogicError);
}

}  // namespace
}  // namespace millrace
