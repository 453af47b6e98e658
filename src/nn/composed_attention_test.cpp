#include "nn/composed_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <optional>

namespace millrace {
namespace {

// Relative to the expected numbers, or to those that went in where they cancel: one key has no gradient.
double difference_of(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).norm().item<double>() / std::max(b.norm().item<double>(), 1.0);
}

struct ComposedCase {
  int64_t queries, keys;
  bool causal, masked;
};

class ComposedAttention : public testing::TestWithParam<ComposedCase> {};

TEST_P(ComposedAttention, AgreesWithTheFusedKernelOfCpus) {
  const ComposedCase& c = GetParam();
  torch::manual_seed(8);
  const auto random = [](int64_t rows) { return torch::randn({1, 3, rows, 16}); };
  const torch::Tensor q = random(c.queries), k = random(c.keys), v = random(c.keys), dout = random(c.queries);
  torch::Tensor mask;
  if (c.masked) {
    mask = torch::zeros({c.queries, c.keys});
    mask.masked_fill_(torch::ones({c.queries, c.keys}, torch::kBool).triu_(c.keys - c.queries + 1),
                      -std::numeric_limits<double>::infinity());
  }
  const std::optional<torch::Tensor> optional_mask = c.masked ? std::optional(mask) : std::nullopt;
  const auto [expected, expected_sums] =
      at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, c.causal, optional_mask);
  const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      dout, q, k, v, expected, expected_sums, 0.0, c.causal, optional_mask);

  const auto [out, sums] = composed_attention_forward(q, k, v, c.causal, mask);
  EXPECT_LT(difference_of(out, expected), 1e-6);
  EXPECT_LT(difference_of(sums, expected_sums), 1e-6);
  const auto [got_dq, got_dk, got_dv] = composed_attention_backward(dout, q, k, v, out, sums, c.causal, mask);
  EXPECT_LT(difference_of(got_dq, dq), 2e-6);
  EXPECT_LT(difference_of(got_dk, dk), 2e-6);
  EXPECT_LT(difference_of(got_dv, dv), 2e-6);
}

INSTANTIATE_TEST_SUITE_P(All, ComposedAttention,
                         testing::Values(ComposedCase{37, 37, false, false}, ComposedCase{37, 37, true, false},
                                         ComposedCase{20, 33, false, true}, ComposedCase{1, 1, true, false}));

TEST(ComposedAttentionTypes, NarrowOnesStay) {
  const torch::Tensor x = torch::ones({1, 2, 5, 8}, torch::kBFloat16);
  const auto [out, sums] = composed_attention_forward(x, x, x, true, {});
  EXPECT_EQ(out.scalar_type(), torch::kBFloat16);
  EXPECT_EQ(sums.scalar_type(), torch::kFloat32);
  EXPECT_TRUE(out.equal(x));
  const auto [dq, dk, dv] = composed_attention_backward(x, x, x, x, out, sums, true, {});
  EXPECT_EQ(dq.scalar_type(), torch::kBFloat16);
  EXPECT_EQ(dk.scalar_type(), torch::kBFloat16);
  EXPECT_EQ(dv.scalar_type(), torch::kBFloat16);
}

}  // namespace
}  // namespace millrace
