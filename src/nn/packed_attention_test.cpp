#include "nn/packed_attention.h"

#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <cmath>
#include <limits>

namespace millrace {
namespace {

// The definition: softmax over all tokens of the batch under a dense mask, in fp64, one key head per query head.
torch::Tensor dense_attention(const torch::Tensor& q_THD, const torch::Tensor& k_TKD, const torch::Tensor& v_TKD,
                              const Documents& documents, const PackedAttentionOptions& options) {
  const int64_t tokens = q_THD.size(0), group = q_THD.size(1) / k_TKD.size(1);
  std::vector<int64_t> owner;
  for (size_t i = 0; i < documents.lengths().size(); ++i) {
    owner.insert(owner.end(), static_cast<size_t>(documents.lengths()[i]), static_cast<int64_t>(i));
  }
  const torch::Tensor owner_T = torch::tensor(owner, torch::kInt64);
  const torch::Tensor place_T = torch::arange(tokens);
  const torch::Tensor distance_TT = place_T.unsqueeze(1) - place_T.unsqueeze(0);
  torch::Tensor hidden_TT = owner_T.unsqueeze(1) != owner_T.unsqueeze(0);
  if (options.causal) hidden_TT = hidden_TT.logical_or(distance_TT < 0);
  if (options.window > 0) hidden_TT = hidden_TT.logical_or(distance_TT >= options.window);
  const auto heads = [](const torch::Tensor& x) { return x.to(torch::kFloat64).transpose(0, 1); };
  const torch::Tensor k = heads(k_TKD).repeat_interleave(group, 0), v = heads(v_TKD).repeat_interleave(group, 0);
  torch::Tensor scores = heads(q_THD).matmul(k.transpose(1, 2)) / std::sqrt(static_cast<double>(q_THD.size(2)));
  scores = scores.masked_fill(hidden_TT, -std::numeric_limits<double>::infinity());
  return scores.softmax(-1).matmul(v).transpose(0, 1);
}

// Relative to the expected numbers, or to those that went in where they cancel: with a window of one token the scores
// have no gradients.
double relative_error(const torch::Tensor& got, const torch::Tensor& expected, const torch::Tensor& input) {
  const torch::Tensor scale = torch::maximum(expected.norm(), input.to(torch::kFloat64).norm());
  return ((got.to(torch::kFloat64) - expected).norm() / scale).item<double>();
}

struct Case {
  std::vector<int64_t> lengths;
  int64_t heads, key_heads, head_dim;
  PackedAttentionOptions options;
};

class PackedAttentionTest : public testing::TestWithParam<Case> {};

TEST_P(PackedAttentionTest, IsAttentionWithinEachDocument) {
  const Case& c = GetParam();
  const Documents documents(c.lengths, torch::kCPU);
  torch::manual_seed(5);
  const int64_t tokens = documents.num_tokens();
  const auto leaf = [&](int64_t heads) { return torch::randn({tokens, heads, c.head_dim}).set_requires_grad(true); };
  const torch::Tensor q = leaf(c.heads), k = leaf(c.key_heads), v = leaf(c.key_heads);
  const torch::Tensor dout = torch::randn({tokens, c.heads, c.head_dim});
  const torch::Tensor expected = dense_attention(q, k, v, documents, c.options);
  expected.backward(dout.to(torch::kFloat64));

  const PackedAttention forward = packed_attention_forward(q.detach(), k.detach(), v.detach(), documents, c.options);
  EXPECT_LT(relative_error(forward.out_THD, expected.detach(), v.detach()), 1e-6);
  const PackedAttentionGradients grads =
      packed_attention_backward(dout, q.detach(), k.detach(), v.detach(), forward, documents, c.options);
  EXPECT_LT(relative_error(grads.dq_THD, q.grad().to(torch::kFloat64), dout), 1e-6);
  EXPECT_LT(relative_error(grads.dk_TKD, k.grad().to(torch::kFloat64), dout), 1e-6);
  EXPECT_LT(relative_error(grads.dv_TKD, v.grad().to(torch::kFloat64), dout), 1e-6);
}

// Documents of one token, lengths that are not multiples of a kernel's blocks, windows shorter than, as long as, and
// longer than a document and than a chunk.
INSTANTIATE_TEST_SUITE_P(
    All, PackedAttentionTest,
    testing::Values(Case{{37}, 4, 4, 16, {}}, Case{{1, 5, 1, 70}, 6, 2, 16, {}}, Case{{33, 90}, 8, 1, 40, {}},
                    Case{{20, 31}, 4, 2, 16, {.causal = false}}, Case{{300, 7}, 4, 2, 16, {.window = 9}},
                    Case{{600, 2, 64}, 2, 1, 8, {.window = 64}}, Case{{530}, 3, 3, 16, {.window = 300}},
                    Case{{50, 12}, 4, 2, 16, {.window = 50}}, Case{{40}, 4, 2, 16, {.window = 1}}));

// A packed batch is bit for bit its documents on their own.
TEST(PackedAttention, DoesNotDependOnTheNeighbours) {
  torch::manual_seed(6);
  const Documents both({19, 44}, torch::kCPU), second({44}, torch::kCPU);
  const torch::Tensor q = torch::randn({63, 4, 16}), k = torch::randn({63, 2, 16}), v = torch::randn({63, 2, 16});
  const auto tail = [](const torch::Tensor& x) { return x.narrow(0, 19, 44); };
  const PackedAttention packed = packed_attention_forward(q, k, v, both);
  const PackedAttention alone = packed_attention_forward(tail(q), tail(k), tail(v), second);
  EXPECT_TRUE(tail(packed.out_THD).equal(alone.out_THD));
}

TEST(PackedAttention, TellsShapesOnTheMetaDevice) {
  const Documents documents({3, 4}, torch::kMeta);
  const auto meta = torch::TensorOptions().device(torch::kMeta);
  const torch::Tensor q = torch::empty({7, 4, 8}, meta), k = torch::empty({7, 2, 8}, meta);
  const PackedAttention forward = packed_attention_forward(q, k, k, documents);
  const PackedAttentionGradients grads = packed_attention_backward(forward.out_THD, q, k, k, forward, documents);
  EXPECT_EQ(grads.dq_THD.sizes(), q.sizes());
  EXPECT_EQ(grads.dk_TKD.sizes(), k.sizes());
}

}  // namespace
}  // namespace millrace
