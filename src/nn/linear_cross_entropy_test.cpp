#include "nn/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/socket_ranks_test_support.h"

namespace millrace {
namespace {

constexpr int64_t kTokens = 300, kWidth = 12;

double relative_error(const torch::Tensor& got, const torch::Tensor& expected) {
  return (got.to(torch::kFloat64) - expected.to(torch::kFloat64)).norm().item<double>() /
         expected.to(torch::kFloat64).norm().item<double>();
}

Linear random_head(int64_t vocabulary, torch::Dtype dtype, bool trained) {
  Linear head(kWidth, vocabulary, /*with_bias=*/false);
  for (torch::Tensor& parameter : head.parameters()) {
    parameter.set_data(torch::randn(parameter.sizes()).to(dtype));
    if (trained) parameter.mutable_grad() = torch::zeros_like(parameter);
  }
  return head;
}

// Every third token has no label.
torch::Tensor random_labels(int64_t vocabulary) {
  const torch::Tensor labels_T = torch::randint(0, vocabulary, {kTokens}, torch::kInt64);
  return labels_T.masked_fill(torch::arange(kTokens) % 3 == 1, kIgnoredLabel);
}

TEST(LinearCrossEntropy, AgreesWithTheWholeInFp64) {
  constexpr int64_t vocabulary = 531;
  for (const int64_t rows : {0, 64, 1}) {
    torch::manual_seed(1);
    Linear head = random_head(vocabulary, torch::kFloat32, /*trained=*/true);
    const torch::Tensor hidden_TD = torch::randn({kTokens, kWidth}), labels_T = random_labels(vocabulary);
    const torch::Tensor hidden = hidden_TD.to(torch::kFloat64).requires_grad_();
    const torch::Tensor weight = head.weight().dense().detach().to(torch::kFloat64).requires_grad_();
    const torch::Tensor expected = torch::nll_loss(torch::log_softmax(at::linear(hidden, weight), 1), labels_T, {},
                                                   at::Reduction::Sum, kIgnoredLabel);
    (expected * 0.25).backward();

    const TokenLoss alone = linear_cross_entropy(head, hidden_TD, labels_T, {}, rows);
    torch::Tensor dhidden_TD;
    const TokenLoss loss = linear_cross_entropy_with_gradients(head, hidden_TD, labels_T, 0.25, dhidden_TD, {}, rows);
    EXPECT_EQ(loss.count, 200);
    EXPECT_EQ(alone.count, loss.count);
    EXPECT_EQ(alone.sum, loss.sum);
    EXPECT_NEAR(loss.sum, expected.item<double>(), 1e-6 * expected.item<double>());
    EXPECT_LT(relative_error(dhidden_TD, hidden.grad()), 1e-6);
    EXPECT_LT(relative_error(head.weight().dense().grad(), weight.grad()), 1e-6);
    EXPECT_EQ(dhidden_TD[1].abs().max().item<float>(), 0);
  }
}

TEST(LinearCrossEntropy, AFrozenLayerPassesTheGradientOn) {
  torch::manual_seed(2);
  Linear trained = random_head(50, torch::kBFloat16, true), frozen = random_head(50, torch::kBFloat16, false);
  frozen.weight().dense().set_data(trained.weight().dense().detach());
  const torch::Tensor hidden_TD = torch::randn({kTokens, kWidth}).to(torch::kBFloat16), labels_T = random_labels(50);
  torch::Tensor dhidden_TD, dhidden2_TD;
  linear_cross_entropy_with_gradients(trained, hidden_TD, labels_T, 1, dhidden_TD);
  linear_cross_entropy_with_gradients(frozen, hidden_TD, labels_T, 1, dhidden2_TD);
  EXPECT_TRUE(torch::equal(dhidden_TD, dhidden2_TD));
  EXPECT_FALSE(frozen.weight().dense().grad().defined());
}

// 532 classes on three ranks, which three does not divide.
TEST(LinearCrossEntropy, RanksThatShareTheVocabularyAgreeWithOne) {
  constexpr int64_t vocabulary = 532;
  torch::manual_seed(3);
  for (const torch::Dtype dtype : {torch::kFloat32, torch::kBFloat16}) {
    Linear head = random_head(vocabulary, dtype, /*trained=*/true);
    const torch::Tensor weight = head.weight().dense().detach().clone(), labels_T = random_labels(vocabulary);
    const torch::Tensor hidden_TD = (torch::randn({kTokens, kWidth}) * 3).to(dtype);
    torch::Tensor dhidden_TD;
    const TokenLoss loss = linear_cross_entropy_with_gradients(head, hidden_TD, labels_T, 0.5, dhidden_TD);
    const torch::Tensor dweight = head.weight().dense().grad();
    as_ranks(3, {.tp = 3}, [&](Communicator& ranks) {
      Group& tp = ranks.mesh().tp();
      const int64_t begin = vocabulary * tp.rank() / 3, rows = vocabulary * (tp.rank() + 1) / 3 - begin;
      Linear part(kWidth, rows, /*with_bias=*/false);
      torch::Tensor own = part.parameters()[0];
      own.set_data(weight.narrow(0, begin, rows).clone());
      own.mutable_grad() = torch::zeros_like(own);
      const VocabularyShare share = {&tp, begin, vocabulary};
      torch::Tensor own_dhidden_TD;
      const TokenLoss alone = linear_cross_entropy(part, hidden_TD, labels_T, share, /*rows=*/64);
      const TokenLoss got =
          linear_cross_entropy_with_gradients(part, hidden_TD, labels_T, 0.5, own_dhidden_TD, share, /*rows=*/64);
      EXPECT_EQ(alone.sum, got.sum);
      EXPECT_EQ(got.count, loss.count);
      const double tolerance = dtype == torch::kFloat32 ? 2e-6 : 1e-2;
      EXPECT_NEAR(got.sum, loss.sum, tolerance / 2 * loss.sum);
      EXPECT_LT(relative_error(own_dhidden_TD, dhidden_TD), tolerance);
      EXPECT_LT(relative_error(own.grad(), dweight.narrow(0, begin, rows)), tolerance);
      EXPECT_THROW(linear_cross_entropy(part, hidden_TD, torch::full({kTokens}, vocabulary), share), DataError);
    });
  }
}

TEST(LinearCrossEntropy, ABatchWithoutLabelsHasNoLoss) {
  Linear head = random_head(9, torch::kFloat32, true);
  const torch::Tensor hidden_TD = torch::randn({5, kWidth});
  torch::Tensor dhidden_TD;
  const TokenLoss loss =
      linear_cross_entropy_with_gradients(head, hidden_TD, torch::full({5}, kIgnoredLabel), 1, dhidden_TD);
  EXPECT_EQ(loss.sum, 0);
  EXPECT_EQ(loss.count, 0);
  EXPECT_EQ(dhidden_TD.abs().sum().item<float>(), 0);
  EXPECT_EQ(head.weight().dense().grad().abs().sum().item<float>(), 0);
}

TEST(LinearCrossEntropy, LabelsBeyondTheVocabularyAreRefused) {
  const Linear head = random_head(9, torch::kFloat32, false);
  const torch::Tensor hidden_TD = torch::randn({3, kWidth});
  EXPECT_THROW(linear_cross_entropy(head, hidden_TD, torch::tensor({int64_t{0}, int64_t{9}, kIgnoredLabel})),
               DataError);
  EXPECT_THROW(linear_cross_entropy(head, hidden_TD, torch::tensor({int64_t{0}, int64_t{-1}, kIgnoredLabel})),
               DataError);
}

}  // namespace
}  // namespace millrace
