#include "kernels/attention_fp32/attention_fp32.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/op_check.h"

namespace millrace {
namespace {

using torch::Tensor;

struct HeadShape {
  int64_t heads, key_heads, queries, keys, size;
  bool causal = false;
  int64_t window = 0;
};

// A sequence and its gradients, whose results are NaN until they are written.
struct AttentionCase {
  AttentionFp32Options options;
  AttentionSequence sequence;
  AttentionSequenceGradients gradients;

  explicit AttentionCase(const HeadShape& shape, double size_of_scores = 1) {
    const auto& [heads, key_heads, queries, keys, size, causal, window] = shape;
    options = {.scale = 1 / std::sqrt(static_cast<double>(size)), .causal = causal, .window = window};
    // Heads beside each other in a token, as a projection has them, within wider rows.
    const auto tokens = [&](int64_t length, int64_t count) {
      return torch::randn({length, count, size + 3}).narrow(2, 1, size).transpose(0, 1);
    };
    sequence = {tokens(queries, heads) * size_of_scores, tokens(keys, key_heads), tokens(keys, key_heads).contiguous(),
                tokens(queries, heads).fill_(std::nanf("")), torch::full({heads, queries}, std::nanf(""))};
    gradients = {tokens(queries, heads), tokens(queries, heads).fill_(std::nanf("")),
                 tokens(keys, key_heads).fill_(std::nanf("")), torch::full({key_heads, keys, size}, std::nanf(""))};
  }

  void run() const {
    attention_fp32_forward({sequence}, options);
    attention_fp32_backward({sequence}, {gradients}, options);
  }
  std::vector<Tensor> results() const {
    return {sequence.out_HLD, sequence.logsumexp_HL, gradients.dq_HLD, gradients.dk_KSD, gradients.dv_KSD};
  }
  // The same in double precision, by ATen's operations.
  std::vector<Tensor> reference() const {
    const auto leaf = [](const Tensor& x) { return x.to(torch::kFloat64).detach().requires_grad_(); };
    const Tensor q = leaf(sequence.q_HLD), k = leaf(sequence.k_KSD), v = leaf(sequence.v_KSD);
    const int64_t group = q.size(0) / k.size(0), queries = q.size(1), keys = k.size(1);
    Tensor scores = torch::matmul(q, k.repeat_interleave(group, 0).transpose(1, 2)) * options.scale;
    if (options.causal) {
      const Tensor distance = torch::arange(queries).unsqueeze(1) - torch::arange(keys);
      Tensor hidden = distance < 0;
      if (options.window > 0) hidden = hidden.logical_or(distance >= options.window);
      scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
    }
    const Tensor out = torch::matmul(scores.softmax(-1), v.repeat_interleave(group, 0));
    out.backward(gradients.dout_HLD.to(torch::kFloat64));
    return {out.detach(), scores.logsumexp(-1).detach(), q.grad(), k.grad(), v.grad()};
  }
};

class AttentionFp32Test : public testing::TestWithParam<std::optional<CpuLevel>> {
 protected:
  void SetUp() override {
    torch::manual_seed(9);
    force_cpu_level(GetParam());
  }
  void TearDown() override { force_cpu_level(std::nullopt); }

  static void expect_exact(const AttentionCase& one) {
    const std::vector<Tensor> expected = one.reference(), results = one.results();
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_LE(relative_error(results[i], expected[i]), 2e-6) << i << " of " << one.sequence.q_HLD.sizes();
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Levels, AttentionFp32Test, testing::ValuesIn(cpu_level_choices()),
                         [](const auto& choice) { return cpu_level_choice_name(choice.param); });

// Ends of tiles, panels, vectors and blocks; one token; several blocks of queries and of keys.
const std::vector<HeadShape> kHeadShapes = {
    {1, 1, 1, 1, 1},
    {2, 2, 5, 7, 3},
    {3, 3, 64, 256, 64},
    {2, 1, 77, 300, 40},
    {4, 2, 130, 270, 128},
    {6, 2, 1, 550, 17},
    {1, 1, 700, 9, 8},
    {2, 2, 1, 1, 4, true},
    {3, 1, 66, 66, 64, true},
    {2, 2, 600, 600, 5, true},
    {4, 2, 300, 300, 32, true, 2},
    {2, 1, 601, 601, 16, true, 37},
    {1, 1, 520, 520, 8, true, 400},
};

TEST_P(AttentionFp32Test, EqualsTheFormula) {
  for (const HeadShape& shape : kHeadShapes) {
    const AttentionCase one(shape);
    one.run();
    expect_exact(one);
  }
}

TEST_P(AttentionFp32Test, LargeScoresDoNotOverflow) {
  const AttentionCase one({2, 2, 70, 300, 32}, 300);
  one.run();
  const std::vector<Tensor> expected = one.reference();
  EXPECT_LE(relative_error(one.sequence.out_HLD, expected[0]), 1e-3);
  for (const Tensor& result : one.results()) EXPECT_TRUE(result.isfinite().all().item<bool>());
}

TEST_P(AttentionFp32Test, NotANumberStaysInItsRow) {
  const AttentionCase one({2, 2, 100, 90, 16});
  one.sequence.q_HLD[1][7][3] = std::nanf("");
  attention_fp32_forward({one.sequence}, one.options);
  EXPECT_TRUE(one.sequence.out_HLD[1][7].isnan().all().item<bool>());
  EXPECT_EQ(one.sequence.out_HLD.isfinite().sum().item<int64_t>(), one.sequence.out_HLD.numel() - 16);
}

TEST_P(AttentionFp32Test, NeitherThreadsNorOtherSequencesChangeAResult) {
  std::vector<AttentionCase> cases;
  for (const HeadShape& shape :
       {HeadShape{4, 2, 300, 300, 32, true}, HeadShape{4, 2, 71, 71, 32, true}, HeadShape{4, 4, 1, 1, 32}}) {
    cases.emplace_back(shape);
    cases.back().options = cases.front().options;
  }
  const auto results = [&] {
    std::vector<Tensor> all;
    for (const AttentionCase& one : cases) {
      for (const Tensor& result : one.results()) all.push_back(result.clone());
    }
    return all;
  };
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (const AttentionCase& one : cases) one.run();
  const std::vector<Tensor> alone = results();
  std::vector<AttentionSequence> sequences;
  std::vector<AttentionSequenceGradients> gradients;
  for (const AttentionCase& one : cases) sequences.push_back(one.sequence), gradients.push_back(one.gradients);
  for (const int count : {1, 3, 7}) {
    at::set_num_threads(count);
    for (const AttentionCase& one : cases) {
      for (const Tensor& result : one.results()) result.fill_(std::nanf(""));
    }
    attention_fp32_forward(sequences, cases.front().options);
    attention_fp32_backward(sequences, gradients, cases.front().options);
    const std::vector<Tensor> together = results();
    for (size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(torch::equal(together[i], alone[i])) << count << " " << i;
  }
  at::set_num_threads(threads);
}

TEST_P(AttentionFp32Test, TakesNothing) {
  const AttentionCase no_queries({2, 2, 0, 5, 8});
  no_queries.run();
  EXPECT_EQ(no_queries.gradients.dk_KSD.abs().sum().item<float>(), 0);
  attention_fp32_forward({}, {});
  attention_fp32_backward({}, {}, {});
}

TEST_P(AttentionFp32Test, RefusesWhatDoesNotFit) {
  const auto refuses = [](const HeadShape& shape, const auto& change) {
    AttentionCase one(shape);
    change(one);
    EXPECT_THROW(one.run(), LogicError);
  };
  refuses({2, 2, 4, 5, 8, true}, [](AttentionCase&) {});
  refuses({2, 2, 4, 4, 8}, [](AttentionCase& one) { one.options.window = 2; });
  refuses({3, 2, 4, 5, 8}, [](AttentionCase&) {});
  refuses({2, 2, 4, 0, 8}, [](AttentionCase&) {});
  refuses({2, 2, 4, 5, 8}, [](AttentionCase& one) { one.sequence.v_KSD = one.sequence.v_KSD.to(torch::kFloat64); });
  refuses({2, 2, 4, 5, 8}, [](AttentionCase& one) { one.sequence.k_KSD = one.sequence.k_KSD.narrow(2, 0, 7); });
  refuses({2, 2, 4, 5, 8}, [](AttentionCase& one) { one.sequence.out_HLD = one.sequence.out_HLD.narrow(1, 0, 3); });
}

}  // namespace
}  // namespace millrace
