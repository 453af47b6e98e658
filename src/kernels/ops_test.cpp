// Every fused op against its reference at every CPU level: the rules that hold for all of them. What is
// particular to one op is tested in its own folder.
#include <gtest/gtest.h>

#include "kernels/cpu_level.h"
#include "kernels/op_check.h"
#include "kernels/quantised/quantised_cases.h"
#include "kernels/self_check.h"

namespace millrace {
namespace {

class OpsAtLevel : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override { force_cpu_level(GetParam()); }
  void TearDown() override { force_cpu_level(std::nullopt); }
};

TEST_P(OpsAtLevel, Fp32OutputsAndGradientsAreAsExactAsTheComposedPath) {
  for (const OpCase& op_case : standard_op_cases(1)) {
    const KernelCheckResult result = check_op(op_case, torch::kFloat32, torch::kCPU);
    EXPECT_LE(result.error, result.tolerance) << op_case.name;
    EXPECT_LE(result.error, 1e-6) << op_case.name;
  }
}

TEST_P(OpsAtLevel, Bf16ErrorIsAtMostTwiceThatOfTheComposedPath) {
  for (const OpCase& op_case : standard_op_cases(2)) {
    const KernelCheckResult result = check_op(op_case, torch::kBFloat16, torch::kCPU);
    EXPECT_LE(result.error, result.tolerance) << op_case.name;
    EXPECT_GT(result.error, 0) << op_case.name;
  }
}

TEST_P(OpsAtLevel, GradientsMatchFiniteDifferences) {
  for (const OpCase& op_case : standard_op_cases(3)) {
    EXPECT_LE(finite_difference_error(op_case), 1e-6) << op_case.name;
  }
}

// Sums are made in an order that no count of threads changes.
TEST_P(OpsAtLevel, ResultsDoNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const OpCase& op_case : standard_op_cases(4)) {
    at::set_num_threads(1);
    const Tensors one = outputs_and_gradients(op_case.fused, op_case.inputs, torch::kFloat32, torch::kCPU);
    at::set_num_threads(3);
    const Tensors three = outputs_and_gradients(op_case.fused, op_case.inputs, torch::kFloat32, torch::kCPU);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(torch::equal(one[i], three[i])) << op_case.name << " " << i;
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Levels, OpsAtLevel, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& test) { return std::string(cpu_level_name(test.param)); });

// The check itself must be able to fail.
TEST(OpCheck, AWrongGradientIsFound) {
  OpCase op_case = standard_op_cases(5)[0];
  const TensorFunction right = op_case.fused;
  op_case.fused = [right](const Tensors& in) -> Tensors {
    Tensors wrong = in;
    wrong.back() = in.back().detach();
    return {right(wrong)[0] + 0 * in.back().sum()};
  };
  EXPECT_GT(finite_difference_error(op_case), 1e-3);
  EXPECT_FALSE(check_op(op_case, torch::kFloat32, torch::kCPU).passed());
}

TEST(OpCheck, NotANumberIsNeverWithinTolerance) {
  OpCase op_case = standard_op_cases(6)[0];
  const TensorFunction right = op_case.fused;
  op_case.fused = [right](const Tensors& in) -> Tensors {
    return {right(in)[0] * std::numeric_limits<float>::quiet_NaN()};
  };
  EXPECT_FALSE(check_op(op_case, torch::kFloat32, torch::kCPU).passed());
}

// What `millrace verify` runs.
TEST(SelfCheck, EveryKernelPassesOnThisMachine) {
  const std::vector<KernelCheck> checks = kernel_checks();
  const size_t of_one_dtype =
      has_bf16_dot_products() ? 3 : 1;  // Winograd, and where there are dot products of bf16 two more
  EXPECT_EQ(checks.size(), 2 * (all_op_cases(1).size() + 8) + quantised_cases(1).size() + of_one_dtype);
  for (const KernelCheck& check : checks) {
    const KernelCheckResult result = check.run(torch::kCPU);
    EXPECT_TRUE(result.passed()) << check.name << ": " << result.error << " > " << result.tolerance;
  }
}

}  // namespace
}  // namespace millrace
