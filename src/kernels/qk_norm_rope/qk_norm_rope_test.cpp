#include "kernels/qk_norm_rope/qk_norm_rope.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace millrace {
namespace {

using torch::Tensor;

constexpr int64_t kBatch = 2, kText = 5, kImage = 11, kHeads = 3, kHeadDim = 22, kTotal = kText + kImage;
constexpr int64_t kWidth = 3 * kHeads * kHeadDim;

struct QkNormRopeProblem {
  Tensor qkv, bias, q_scale, k_scale, cos, sin;
  explicit QkNormRopeProblem(int64_t length, torch::ScalarType type = torch::kFloat32)
      : qkv(torch::randn({kBatch, length, kWidth}).to(type)),
        bias(torch::randn({kWidth}).to(type)),
        q_scale(torch::randn({kHeadDim}).to(type)),
        k_scale(torch::randn({kHeadDim}).to(type)) {
    const Tensor angle = torch::randn({length, kHeadDim / 2}) * 4;
    cos = angle.cos();
    sin = angle.sin();
  }
};

struct Attention {
  Tensor q, k, v;
  explicit Attention(torch::ScalarType type = torch::kFloat32)
      : q(torch::zeros({kBatch, kHeads, kTotal, kHeadDim}, type)), k(torch::zeros_like(q)), v(torch::zeros_like(q)) {}
};

void forward_into(const QkNormRopeProblem& p, const Attention& attention, int64_t offset) {
  qk_norm_rope_forward(
      {p.qkv, p.bias, p.q_scale, p.k_scale, p.cos, p.sin, 1e-6, offset, attention.q, attention.k, attention.v});
}

TEST(QkNormRope, TwoStreamsMeetInOneBuffer) {
  torch::manual_seed(1);
  const QkNormRopeProblem text(kText), image(kImage);
  const Attention attention;
  forward_into(text, attention, 0);
  forward_into(image, attention, kText);
  const auto [tq, tk, tv] =
      qk_norm_rope_reference(text.qkv, text.bias, text.q_scale, text.k_scale, text.cos, text.sin, kHeads);
  const auto [iq, ik, iv] =
      qk_norm_rope_reference(image.qkv, image.bias, image.q_scale, image.k_scale, image.cos, image.sin, kHeads);
  EXPECT_TRUE(torch::allclose(attention.q, torch::cat({tq, iq}, 2), 1e-4, 1e-5));
  EXPECT_TRUE(torch::allclose(attention.k, torch::cat({tk, ik}, 2), 1e-4, 1e-5));
  EXPECT_TRUE(torch::equal(attention.v, torch::cat({tv, iv}, 2)));
}

// Attention's backward pass gives gradients as [B, L, H, D] as often as [B, H, L, D]; linear1 of a single block makes
// rows that also hold the MLP's part.
TEST(QkNormRope, RowsAndGradientsMayLieAnyhow) {
  torch::manual_seed(2);
  const QkNormRopeProblem p(kImage);
  const Tensor joint = torch::randn({kBatch, kTotal, kHeads, kHeadDim}).transpose(1, 2);  // [B, H, T, D]
  const Tensor dense = joint.contiguous();
  const Tensor wide = torch::randn({kBatch, kImage, kWidth + 17});
  wide.narrow(2, 0, kWidth).copy_(p.qkv);
  const auto run = [&](const Tensor& gradient, const Tensor& qkv, const Tensor& dqkv, const Tensor& dq_scale,
                       const Tensor& dk_scale, const Tensor& dbias) {
    qk_norm_rope_backward({.dq_BHTD = gradient,
                           .dk_BHTD = gradient,
                           .dv_BHTD = gradient,
                           .qkv_BLE = qkv,
                           .bias_E = p.bias,
                           .q_scale_D = p.q_scale,
                           .k_scale_D = p.k_scale,
                           .cos_LP = p.cos,
                           .sin_LP = p.sin,
                           .offset = kText,
                           .dqkv_BLE = dqkv,
                           .dq_scale_D = dq_scale,
                           .dk_scale_D = dk_scale,
                           .dbias_E = dbias});
  };
  const Tensor dqkv = torch::zeros_like(wide), dense_dqkv = torch::zeros_like(p.qkv);
  const Tensor scales = torch::zeros({4, kHeadDim}), biases = torch::zeros({2, kWidth});
  run(joint, wide, dqkv, scales[0], scales[1], biases[0]);
  run(dense, p.qkv, dense_dqkv, scales[2], scales[3], biases[1]);
  EXPECT_TRUE(torch::equal(dqkv.narrow(2, 0, kWidth), dense_dqkv));
  EXPECT_EQ(dqkv.narrow(2, kWidth, 17).abs().sum().item<float>(), 0);
  EXPECT_TRUE(torch::equal(scales[0], scales[2]));
  EXPECT_TRUE(torch::equal(scales[1], scales[3]));
  EXPECT_TRUE(torch::equal(biases[0], biases[1]));
  EXPECT_TRUE(torch::allclose(biases[0], dense_dqkv.sum(at::IntArrayRef({0, 1})), 1e-4, 1e-4));

  // Once more, now added to what is there, over the input.
  const Tensor before = scales.clone();
  run(joint, wide, wide, scales[0], scales[1], biases[0]);
  EXPECT_TRUE(torch::allclose(scales[0], 2 * before[0], 1e-5));
  EXPECT_TRUE(torch::allclose(biases[0], 2 * biases[1], 1e-5));
  EXPECT_TRUE(torch::equal(wide.narrow(2, 0, kWidth), dense_dqkv));
}

TEST(QkNormRope, OverwritesSumsWhenAsked) {
  torch::manual_seed(3);
  const QkNormRopeProblem p(kTotal);
  const Attention gradients;
  const Tensor dq_scale = torch::full({kHeadDim}, 5.0f), dk_scale = torch::full({kHeadDim}, 5.0f);
  const Tensor dbias = torch::full({kWidth}, 5.0f), dqkv = torch::empty_like(p.qkv);
  qk_norm_rope_backward({.dq_BHTD = gradients.q,
                         .dk_BHTD = gradients.k,
                         .dv_BHTD = gradients.v,
                         .qkv_BLE = p.qkv,
                         .bias_E = p.bias,
                         .q_scale_D = p.q_scale,
                         .k_scale_D = p.k_scale,
                         .cos_LP = p.cos,
                         .sin_LP = p.sin,
                         .dqkv_BLE = dqkv,
                         .dq_scale_D = dq_scale,
                         .dk_scale_D = dk_scale,
                         .dbias_E = dbias,
                         .accumulate = false});
  for (const Tensor& x : {dq_scale, dk_scale, dbias, dqkv}) EXPECT_EQ(x.abs().sum().item<float>(), 0);
}

// A frozen layer wants no gradient of its bias or scales: the input's does not change by a bit.
TEST(QkNormRope, GradientsOfFrozenParametersMayBeLeftOut) {
  torch::manual_seed(6);
  const QkNormRopeProblem p(kTotal);
  const Attention gradients;
  for (const Tensor* x : {&gradients.q, &gradients.k, &gradients.v}) x->normal_();
  const auto run = [&](const Tensor& dq_scale, const Tensor& dk_scale, const Tensor& dbias) {
    const Tensor dqkv = torch::empty_like(p.qkv);
    qk_norm_rope_backward({gradients.q, gradients.k, gradients.v, p.qkv, p.bias, p.q_scale, p.k_scale, p.cos, p.sin,
                           1e-6, 0, dqkv, dq_scale, dk_scale, dbias});
    return dqkv;
  };
  const Tensor scales = torch::zeros({3, kHeadDim}), bias = torch::zeros({kWidth});
  const Tensor all = run(scales[0], scales[1], bias);
  EXPECT_TRUE(torch::equal(run({}, {}, {}), all));
  EXPECT_TRUE(torch::equal(run({}, scales[2], {}), all));
  EXPECT_GT(scales[1].abs().max().item<float>(), 0);
  EXPECT_TRUE(torch::equal(scales[2], scales[1]));
}

TEST(QkNormRope, EpsCountsWhereAHeadIsSmall) {
  torch::manual_seed(4);
  QkNormRopeProblem p(kImage);
  p.qkv = p.qkv * 1e-3;
  for (const double eps : {1e-6, 1e-5, 1.1920929e-7}) {
    const auto [q, k, v] = qk_norm_rope(p.qkv, {}, p.q_scale, p.k_scale, p.cos, p.sin, kHeads, eps);
    const auto [rq, rk, rv] = qk_norm_rope_reference(p.qkv, {}, p.q_scale, p.k_scale, p.cos, p.sin, kHeads, eps);
    EXPECT_TRUE(torch::allclose(q, rq, 1e-4, 1e-5)) << eps;
    EXPECT_TRUE(torch::allclose(k, rk, 1e-4, 1e-5)) << eps;
  }
}

TEST(QkNormRope, Bf16BufferAndParametersOfAnotherType) {
  torch::manual_seed(5);
  const QkNormRopeProblem p(kImage, torch::kBFloat16);
  const Attention same(torch::kBFloat16), mixed(torch::kBFloat16);
  forward_into(p, same, 2);
  QkNormRopeProblem fp32 = p;
  for (Tensor* x : {&fp32.bias, &fp32.q_scale, &fp32.k_scale}) *x = x->to(torch::kFloat32);
  forward_into(fp32, mixed, 2);
  EXPECT_TRUE(torch::equal(same.q, mixed.q));
  EXPECT_TRUE(torch::equal(same.v, mixed.v));
  EXPECT_EQ(same.q.narrow(2, 0, 2).abs().sum().item<float>(), 0);
}

TEST(QkNormRope, RefusesShapesThatDoNotFit) {
  const QkNormRopeProblem p(kImage);
  const Attention attention;
  EXPECT_THROW(forward_into(p, attention, kText + 1), LogicError);  // beyond the end
  QkNormRopeProblem wrong = p;
  wrong.cos = p.cos.narrow(0, 0, 3);
  EXPECT_THROW(forward_into(wrong, attention, 0), LogicError);
  wrong = p;
  wrong.qkv = p.qkv.narrow(2, 0, kWidth - 1);
  EXPECT_THROW(forward_into(wrong, attention, 0), LogicError);
}

}  // namespace
}  // namespace millrace
