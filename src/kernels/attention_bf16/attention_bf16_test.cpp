#include "kernels/attention_bf16/attention_bf16.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/op_check.h"

namespace millrace {
namespace {

using torch::Tensor;

// Once where this processor has the instructions, else not at all.
class AttentionBf16 : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { torch::manual_seed(6); }
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(AttentionBf16);
INSTANTIATE_TEST_SUITE_P(WhereSupported, AttentionBf16,
                         testing::ValuesIn(std::vector<bool>(has_bf16_dot_products() ? 1 : 0, true)));

struct Inputs {
  Tensor q_BHLD, k_BHSD, v_BHSD, bias_HLS;

  Inputs(int64_t batch, int64_t heads, int64_t queries, int64_t keys, int64_t size, bool with_bias) {
    const auto rows = [&](int64_t length) {  // heads beside each other, as a projection has them
      return torch::randn({batch, length, heads, size}).to(torch::kBFloat16).transpose(1, 2);
    };
    q_BHLD = rows(queries), k_BHSD = rows(keys), v_BHSD = rows(keys).contiguous();
    if (with_bias) bias_HLS = (torch::randn({heads, queries, keys}) * 2).to(torch::kBFloat16);
  }
  Tensor run(double scale) const {
    const Tensor out = torch::empty_like(q_BHLD);
    attention_bf16(out, q_BHLD, k_BHSD, v_BHSD, bias_HLS, scale);
    return out;
  }
  Tensor reference(torch::ScalarType type, double scale) const {
    const auto as = [&](const Tensor& x) { return x.defined() ? x.to(type) : x; };
    return attention_bf16_reference(as(q_BHLD), as(k_BHSD), as(v_BHSD), as(bias_HLS), scale);
  }
};

// Only weights and results are rounded to bf16, by 2^-9 at most: on average by a third of that each.
TEST_P(AttentionBf16, IsAsExactAsItsRoundings) {
  const std::vector<Inputs> cases = {{1, 1, 1, 1, 1, true},     {2, 3, 14, 32, 64, true}, {1, 2, 15, 33, 40, false},
                                     {2, 2, 77, 77, 64, false}, {1, 3, 31, 130, 5, true}, {3, 1, 256, 256, 64, true},
                                     {1, 2, 9, 17, 100, true}};
  for (const Inputs& inputs : cases) {
    for (const double scale : {1.0, 0.125}) {
      const Tensor exact = inputs.reference(torch::kFloat64, scale);
      EXPECT_LE(relative_error(inputs.run(scale), exact), 0x1p-8) << inputs.q_BHLD.sizes();
      EXPECT_LE(relative_error(inputs.run(scale), exact),
                relative_error(inputs.reference(torch::kBFloat16, scale), exact) + 0x1p-12);
    }
  }
}

// One token: a dimension of size 1 may have any stride.
TEST_P(AttentionBf16, TakesOneTokenWithAnyStride) {
  Inputs inputs(2, 5, 1, 1, 8, true);
  inputs.bias_HLS = inputs.bias_HLS.flatten().as_strided({5, 1, 1}, {1, 5, 5});
  EXPECT_TRUE(torch::equal(inputs.run(1.0), inputs.v_BHSD));
  EXPECT_EQ(suits_attention_bf16(inputs.q_BHLD, inputs.k_BHSD, inputs.v_BHSD, inputs.bias_HLS), is_amd_processor());
  EXPECT_FALSE(suits_attention_bf16(inputs.q_BHLD, inputs.k_BHSD, inputs.v_BHSD.to(torch::kFloat32), {}));
}

TEST_P(AttentionBf16, LargeScoresDoNotOverflow) {
  Inputs inputs(1, 2, 20, 50, 64, true);
  inputs.q_BHLD = inputs.q_BHLD * 100;
  inputs.k_BHSD = inputs.k_BHSD * 100;
  EXPECT_LE(relative_error(inputs.run(1.0), inputs.reference(torch::kFloat64, 1.0)), 1e-2);
}

TEST_P(AttentionBf16, ABiasOfMinusInfinityHidesAKey) {
  Inputs inputs(2, 2, 11, 40, 32, true);
  inputs.bias_HLS.narrow(2, 25, 15).fill_(-std::numeric_limits<float>::infinity());
  const Tensor all = inputs.run(0.5);
  inputs.k_BHSD = inputs.k_BHSD.narrow(2, 0, 25);
  inputs.v_BHSD = inputs.v_BHSD.narrow(2, 0, 25);
  inputs.bias_HLS = inputs.bias_HLS.narrow(2, 0, 25);
  EXPECT_TRUE(torch::equal(all, inputs.run(0.5)));
}

TEST_P(AttentionBf16, NotANumberStaysInItsRow) {
  const Inputs inputs(2, 2, 20, 30, 16, true);
  inputs.q_BHLD[1][0][7][3] = std::nanf("");
  const Tensor out = inputs.run(1.0);
  EXPECT_TRUE(out[1][0][7].isnan().all().item<bool>());
  EXPECT_EQ(out.isfinite().sum().item<int64_t>(), out.numel() - 16);
}

TEST_P(AttentionBf16, NeitherThreadsNorOtherSamplesChangeAResult) {
  Inputs inputs(3, 2, 45, 61, 64, true);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Tensor alone = inputs.run(0.3);
  at::set_num_threads(5);
  EXPECT_TRUE(torch::equal(inputs.run(0.3), alone));
  at::set_num_threads(threads);
  for (Tensor* x : {&inputs.q_BHLD, &inputs.k_BHSD, &inputs.v_BHSD}) *x = x->narrow(0, 1, 1);
  EXPECT_TRUE(torch::equal(inputs.run(0.3), alone.narrow(0, 1, 1)));
}

TEST_P(AttentionBf16, RefusesWhatDoesNotFit) {
  const Inputs inputs(2, 3, 4, 5, 8, true);
  const auto run = [&](const Tensor& out, const Tensor& k, const Tensor& bias) {
    attention_bf16(out, inputs.q_BHLD, k, inputs.v_BHSD, bias, 1.0);
  };
  const Tensor out = torch::empty_like(inputs.q_BHLD);
  EXPECT_THROW(run(out.to(torch::kFloat32), inputs.k_BHSD, {}), LogicError);
  EXPECT_THROW(run(out, inputs.k_BHSD.narrow(3, 0, 7), {}), LogicError);
  EXPECT_THROW(run(out, inputs.k_BHSD, inputs.bias_HLS.narrow(0, 0, 2)), LogicError);
}

}  // namespace
}  // namespace millrace
