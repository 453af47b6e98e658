#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "kernels/op_check.h"
#include "nn/attention.h"
#include "nn/cpu_allocator.h"
#include "nn/gemm.h"
#include "nn/linear_rows.h"
#include "nn/rope.h"
#include "nn/timestep_embedding.h"

namespace millrace {
namespace {

TEST(Attention, BackwardMatchesAutograd) {
  torch::manual_seed(1);
  for (const int64_t tokens : {1, 7, 33}) {
    torch::Tensor q = torch::randn({2, 3, tokens, 20}).requires_grad_(), k = torch::randn_like(q).requires_grad_(),
                  v = torch::randn_like(q).requires_grad_();
    const torch::Tensor dout = torch::randn_like(q);
    const torch::Tensor p = torch::softmax(torch::matmul(q, k.transpose(2, 3)) / std::sqrt(20.0), 3);
    const torch::Tensor expected = torch::matmul(p, v);
    expected.backward(dout);
    const Attention attention = attention_forward(q.detach(), k.detach(), v.detach());
    EXPECT_LT(relative_error(attention.out_BHLD, expected.detach()), 1e-5);
    const AttentionGradients grads = attention_backward(dout, q.detach(), k.detach(), v.detach(), attention);
    if (tokens == 1) {  // whose softmax is a constant
      EXPECT_LT(grads.dq_BHLD.abs().max().item<float>(), 1e-5);
      EXPECT_LT(grads.dk_BHLD.abs().max().item<float>(), 1e-5);
    } else {
      EXPECT_LT(relative_error(grads.dq_BHLD, q.grad()), 1e-5);
      EXPECT_LT(relative_error(grads.dk_BHLD, k.grad()), 1e-5);
    }
    EXPECT_LT(relative_error(grads.dv_BHLD, v.grad()), 1e-5);
  }
}

TEST(Attention, NothingAttendsToThePaddingOfAPrefix) {
  torch::manual_seed(5);
  const int64_t tokens = 11;
  const PaddedPrefix padding = {.size = 5, .used = {2, 5, 0}};
  torch::Tensor q = torch::randn({3, 2, tokens, 8}).requires_grad_(), k = torch::randn_like(q).requires_grad_(),
                v = torch::randn_like(q).requires_grad_();
  const torch::Tensor dout = torch::randn_like(q), scores = torch::matmul(q, k.transpose(2, 3)) / std::sqrt(8.0);
  torch::Tensor mask = torch::zeros({3, 1, 1, tokens});
  for (int64_t b = 0; b < 3; ++b) {
    mask[b].slice(2, padding.used[static_cast<size_t>(b)], 5).fill_(-std::numeric_limits<float>::infinity());
  }
  const torch::Tensor expected = torch::matmul(torch::softmax(scores + mask, 3), v);
  expected.backward(dout);
  const Attention attention = attention_forward(q.detach(), k.detach(), v.detach(), padding);
  EXPECT_LT(relative_error(attention.out_BHLD, expected.detach()), 1e-5);
  const AttentionGradients grads = attention_backward(dout, q.detach(), k.detach(), v.detach(), attention, padding);
  EXPECT_LT(relative_error(grads.dq_BHLD, q.grad()), 1e-5);
  EXPECT_LT(relative_error(grads.dk_BHLD, k.grad()), 1e-5);
  EXPECT_LT(relative_error(grads.dv_BHLD, v.grad()), 1e-5);
  EXPECT_EQ(grads.dk_BHLD[2].slice(1, 0, 5).count_nonzero().item<int64_t>(), 0);
}

TEST(Attention, ABiasIsAddedToTheScores) {
  torch::manual_seed(2);
  const torch::NoGradGuard no_grad;
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const auto heads = [&] { return torch::randn({2, 33, 3, 20}).to(type).transpose(1, 2); };
    const torch::Tensor q = heads(), k = heads(), v = heads(), bias = torch::randn({1, 3, 33, 33}).to(type);
    const auto exact = [](const torch::Tensor& x) { return x.to(torch::kFloat64); };
    const torch::Tensor p = torch::softmax(torch::matmul(exact(q), exact(k).transpose(2, 3)) * 0.3 + exact(bias), 3);
    const torch::Tensor expected = torch::matmul(p, exact(v)).transpose(1, 2).flatten(2);
    const torch::Tensor got = biased_attention(q, k, v, bias, 0.3);
    EXPECT_EQ(got.scalar_type(), type);
    EXPECT_LT(relative_error(got, expected), type == torch::kFloat32 ? 1e-5 : 5e-3);
  }
}

// On several cores, each with some of the outputs.
TEST(Gemm, MultipliesARowByALargeMatrix) {
  torch::manual_seed(6);
  for (const int64_t outputs : {1999, 2048}) {
    const torch::Tensor row_1K = torch::randn({1, 517}), weight_NK = torch::randn({outputs, 517});
    const torch::Tensor expected = torch::matmul(row_1K.to(torch::kFloat64), weight_NK.to(torch::kFloat64).t());
    torch::Tensor out_1N = torch::empty({1, outputs});
    gemm(out_1N, row_1K, weight_NK.t());
    EXPECT_LT(relative_error(out_1N, expected), 1e-6);
    torch::Tensor wider = torch::full({1, outputs + 3}, 7.0F), part = wider.narrow(1, 2, outputs);
    gemm(part, row_1K, weight_NK.t());
    EXPECT_TRUE(part.equal(out_1N));
    EXPECT_EQ(wider[0][1].item<float>() + wider[0][outputs + 2].item<float>(), 14);
    gemm(out_1N, row_1K, weight_NK.t(), /*accumulate=*/true);
    EXPECT_LT(relative_error(out_1N, 2 * expected), 1e-6);
  }
}

// A layer's rows, with or without a graph, below and above the size from which products in bf16 have a kernel.
TEST(LinearRows, AddTheResidualAndGateAlike) {
  torch::manual_seed(4);
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const double tolerance = type == torch::kFloat32 ? 2e-6 : 6e-3;
    for (const int64_t size : {12, 140}) {
      const auto random = [&](at::IntArrayRef shape, double scale) { return (torch::randn(shape) * scale).to(type); };
      const auto exact = [](const torch::Tensor& x) { return x.to(torch::kFloat64); };
      const double scale = 1 / std::sqrt(static_cast<double>(size));
      const torch::Tensor x = random({2, 41, size}, 1), both = random({2 * size + 2, size}, scale);
      const torch::Tensor weight = both.narrow(0, 0, size + 1), gate = both.narrow(0, size + 1, size + 1);
      const torch::Tensor bias = random({size + 1}, 1), residual = random({2, 41, size + 1}, 1);
      const torch::Tensor sum = torch::linear(exact(x), exact(weight), exact(bias)) + exact(residual);
      const torch::Tensor gated =
          torch::gelu(torch::linear(exact(x), exact(weight)), "tanh") * torch::linear(exact(x), exact(gate));
      for (const bool with_graph : {false, true}) {
        const at::AutoGradMode mode(with_graph);
        EXPECT_LT(relative_error(linear_rows(x, weight, bias, residual), sum), tolerance) << size;
        EXPECT_LT(relative_error(gated_gelu_rows(x, weight, gate), gated), 2 * tolerance) << size;
        EXPECT_LT(relative_error(gated_gelu_rows(x, weight, gate.clone()), gated), 2 * tolerance) << size;
      }
    }
  }
}

TEST(Gemm, AgreesWithDoublePrecisionForEveryLayout) {
  torch::manual_seed(3);
  // Sizes on both sides of the one at which another library takes over; rows of a wider matrix; transposed operands.
  for (const auto& [m, k, n] : {std::array{1, 3, 2}, {2, 700, 900}, {130, 77, 251}, {257, 300, 64}}) {
    const torch::Tensor a = torch::randn({m, k + 5}).narrow(1, 2, k), at = torch::randn({k, m}).t();
    const torch::Tensor b = torch::randn({n, k}).t(), bias = torch::randn({n});
    for (const torch::Tensor& left : {a, at}) {
      const torch::Tensor expected = torch::mm(left.to(torch::kFloat64), b.to(torch::kFloat64));
      torch::Tensor out = torch::full({m, n}, NAN), strided = torch::full({m, n + 3}, NAN).narrow(1, 1, n);
      gemm(out, left, b);
      gemm(strided, left, b);
      EXPECT_LT(relative_error(out, expected), 2e-6);
      EXPECT_LT(relative_error(strided, expected), 2e-6);
      gemm(out, left, b, /*accumulate=*/true);
      EXPECT_LT(relative_error(out, 2 * expected), 2e-6);
      EXPECT_LT(relative_error(matrix_product(left, b, bias), expected + bias), 2e-6);
      EXPECT_TRUE(matrix_product(left, b).equal(matrix_product(left, b)));
    }
  }
}

// As above for bf16, whose products with transposed matrices have a kernel where the processor has what it needs.
TEST(Gemm, RoundsToBf16ForEveryLayout) {
  torch::manual_seed(5);
  for (const auto& [m, k, n] : {std::array{1, 3, 2}, {20, 700, 90}, {130, 77, 251}}) {
    const auto random = [](at::IntArrayRef shape) { return torch::randn(shape).to(torch::kBFloat16); };
    const torch::Tensor a = random({m, k + 5}).narrow(1, 2, k), at = random({k, m}).t();
    const torch::Tensor b = random({k, n}), bt = random({n, k}).t(), bias = random({n});
    for (const auto& [left, right] : {std::pair{a, bt}, {a, b}, {at, bt}}) {
      const torch::Tensor expected = torch::mm(left.to(torch::kFloat64), right.to(torch::kFloat64));
      torch::Tensor out = torch::full({m, n}, NAN, torch::kBFloat16);
      torch::Tensor strided = torch::full({m, n + 3}, NAN, torch::kBFloat16).narrow(1, 1, n);
      gemm(out, left, right);
      gemm(strided, left, right);
      EXPECT_LT(relative_error(out, expected), 4e-3);
      EXPECT_LT(relative_error(strided, expected), 4e-3);
      gemm(out, left, right, /*accumulate=*/true);
      EXPECT_LT(relative_error(out, 2 * expected), 6e-3);
      EXPECT_LT(relative_error(matrix_product(left, right, bias), expected + bias.to(torch::kFloat64)), 6e-3);
    }
  }
}

TEST(Rope, SharesATableAmongSamplesWithEqualIds) {
  torch::Tensor ids = torch::arange(5, torch::kFloat32).view({1, 5, 1}).expand({3, 5, 3}).contiguous();
  EXPECT_EQ(rope_table(ids, {2, 4, 4}, 10000).cos_LP.dim(), 2);
  ids[1][2][0] = 9;
  const RopeTable table = rope_table(ids, {2, 4, 4}, 10000);
  EXPECT_EQ(table.cos_LP.sizes(), c10::IntArrayRef({3, 5, 5}));
  EXPECT_NEAR(table.cos_LP[1][2][0].item<double>(), std::cos(9.0), 1e-6);
  EXPECT_EQ(table.rows(1, 2).sin_LP.sizes(), c10::IntArrayRef({3, 2, 5}));
}

TEST(Rope, IdsGradientMatchesFiniteDifferences) {
  torch::manual_seed(2);
  const std::vector<int64_t> axes = {4, 6, 2};
  const torch::Tensor ids = torch::randn({2, 3, 3}, torch::kFloat64), weight = torch::randn({2, 3, 6}, torch::kFloat64);
  const auto loss = [&](const torch::Tensor& at) {
    return (rope_table(at, axes, 100).cos_LP * weight).sum().item<double>();
  };
  const RopeTable table = rope_table(ids, axes, 100);
  const torch::Tensor got = rope_ids_gradient(-table.sin_LP * weight, axes, 100);
  const double step = 1e-2;
  for (int64_t l = 0; l < 3; ++l) {
    for (int64_t a = 0; a < 3; ++a) {
      torch::Tensor above = ids.clone(), below = ids.clone();
      above[1][l][a] += step;
      below[1][l][a] -= step;
      EXPECT_NEAR(got[1][l][a].item<double>(), (loss(above) - loss(below)) / (2 * step), 2e-3);
    }
  }
}

TEST(TimestepEmbedding, CosinesComeFirstAndTheGradientIsRight) {
  const torch::Tensor t = torch::tensor({0.0, 0.3, 1.0});
  const torch::Tensor embedding = timestep_embedding(t, 8);
  EXPECT_EQ(embedding[0][0].item<float>(), 1);
  EXPECT_EQ(embedding[0][4].item<float>(), 0);
  EXPECT_NEAR(embedding[1][0].item<double>(), std::cos(300.0), 1e-4);
  const torch::Tensor weight = torch::randn({3, 8});
  const torch::Tensor got = timestep_embedding_backward(weight, t);
  const auto loss = [&](double at) {
    return (timestep_embedding(torch::tensor({at}), 8)[0] * weight[1]).sum().item<double>();
  };
  EXPECT_NEAR(got[1].item<double>(), (loss(0.3 + 1e-5) - loss(0.3 - 1e-5)) / 2e-5,
              2e-2 * std::fabs(got[1].item<double>()) + 2);
}

TEST(CpuAllocator, ReusesLargeBlocks) {
  install_caching_cpu_allocator();
  const void* first = nullptr;
  {
    const torch::Tensor x = torch::empty({3 << 20});
    first = x.data_ptr();
    EXPECT_GE(cpu_allocator_stats().bytes_in_use, size_t{12} << 20);
  }
  const torch::Tensor y = torch::empty({(3 << 20) - 100});
  EXPECT_EQ(y.data_ptr(), first);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
}

TEST(CpuAllocator, SmallTensorsAndResizingWork) {
  install_caching_cpu_allocator();
  torch::Tensor x = torch::arange(10, torch::kFloat32);
  x.resize_({1 << 21});
  EXPECT_EQ(x[9].item<float>(), 9);
  x.resize_({4});
  EXPECT_EQ(x.clone()[3].item<float>(), 3);
}

TEST(CpuAllocator, ServesWhoAllocatesByPlainPointers) {
  install_caching_cpu_allocator();
  for (const size_t bytes : {size_t{100}, size_t{5} << 20}) {
    void* block = c10::GetAllocator(c10::kCPU)->raw_allocate(bytes);
    ASSERT_NE(block, nullptr);
    c10::GetAllocator(c10::kCPU)->raw_deallocate(block);
  }
  // oneDNN's narrow matrix products do.
  const torch::Tensor a = torch::ones({300, 200}, torch::kBFloat16);
  EXPECT_EQ(at::mm(a, a.t())[7][9].item<float>(), 200);
}

}  // namespace
}  // namespace millrace
