#include "optim/clip.h"

#include <gmock/gmock.h>

#include <limits>

#include "base/error.h"
#include "optim/optim_test_support.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

class ClipTest : public ::testing::Test {
 protected:
  ClipTest() : groups_({make_group("first", 35), make_group("second", 70)}) {
    torch::manual_seed(2);
    groups_[1].parameters = {{"block.weight", 0, 60}, {"block.bias", 64, 6}};
    for (const FlatGroup& group : groups_) group.grad.copy_(torch::randn({group.grad.numel()}));
  }
  std::string complaint() {
    try {
      finite_norm(global_grad_norm(groups_, 1.0), groups_);
    } catch (const NumericsError& error) {
      return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }
  std::vector<FlatGroup> groups_;
};

TEST_F(ClipTest, TakesTheNormOverAllGroups) {
  const double expected = torch::cat({groups_[0].grad, groups_[1].grad}).to(torch::kFloat64).norm().item<double>();
  const GradNorm norm = global_grad_norm(groups_, 0.5);
  EXPECT_NEAR(finite_norm(norm, groups_), expected, 1e-6 * expected);
  EXPECT_NEAR(norm.coefficient_1.item<double>(), 0.5 / (expected + 1e-6), 1e-7);
}

TEST_F(ClipTest, LeavesSmallGradientsAlone) {
  for (const double max_norm : {1e6, 0.0, -1.0}) {
    EXPECT_EQ(global_grad_norm(groups_, max_norm).coefficient_1.item<double>(), 1.0);
  }
}

TEST_F(ClipTest, NamesTheFirstParameterThatIsNotFinite) {
  groups_[1].grad[66] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(complaint(), HasSubstr("block.bias[2]"));
  EXPECT_THAT(complaint(), HasSubstr("nan"));
  groups_[1].grad[17] = -std::numeric_limits<float>::infinity();
  EXPECT_THAT(complaint(), HasSubstr("block.weight[17]"));
  EXPECT_THAT(complaint(), HasSubstr("-inf"));
  groups_[0].grad[3] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(complaint(), HasSubstr("first[3]"));
}

TEST_F(ClipTest, TellsANormThatOverflows) {
  for (const FlatGroup& group : groups_) group.grad.fill_(3e38f);
  EXPECT_THAT(complaint(), HasSubstr("norm"));
}

TEST_F(ClipTest, NamesTheElementOfABoxOfAMatrix) {
  groups_[1].parameters = {{.name = "block.weight",
                            .begin = 4,
                            .size = 12,
                            .global_shape = {9, 20},
                            .start = {2, 5},
                            .shape = {3, 4},
                            .row_stride = 10}};
  groups_[1].grad[4 + 10 + 3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(complaint(), HasSubstr("block.weight[3, 8]"));
}

TEST(ClipScale, ClipsTheScaledGradients) {
  const torch::Tensor sum_1 = torch::tensor({1600.0}, torch::kFloat64);  // a norm of 40
  const GradNorm within = grad_norm_of_sum(sum_1, /*max_norm=*/6, /*scale=*/0.1);
  EXPECT_FLOAT_EQ(within.norm_1.item<float>(), 4);
  EXPECT_FLOAT_EQ(within.coefficient_1.item<float>(), 0.1f);
  const GradNorm above = grad_norm_of_sum(sum_1, /*max_norm=*/2, /*scale=*/0.1);
  EXPECT_NEAR(above.coefficient_1.item<float>(), 0.05, 1e-7);
  EXPECT_FLOAT_EQ(grad_norm_of_sum(sum_1, /*max_norm=*/0, /*scale=*/3).coefficient_1.item<float>(), 3);
}

}  // namespace
}  // namespace millrace
