// A model that uses one unit first and last, as a language model with tied embeddings does, on one rank and on two.
#include <gtest/gtest.h>

#include <string>

#include "comm/socket_ranks_test_support.h"
#include "nn/linear.h"
#include "parallel/flat_parameters.h"

namespace millrace {
namespace {

constexpr int64_t kVocabulary = 7, kWidth = 6, kSamples = 4;

// Without a generator, which the ranks' threads would share.
torch::Tensor numbers(int64_t rows, int64_t columns) {
  return (torch::arange(rows * columns, torch::kFloat32) * 1.7).sin().view({rows, columns});
}

// logits = (embedding[ids] W^T) embedding^T: the embedding is unit 0, used first and last; W is unit 1.
class TiedModel {
 public:
  explicit TiedModel(const FlatParametersOptions& options)
      : flat_({{"embedding", {{"embedding", embedding_.plain_weight()}}},
               {"middle", {{"weight", middle_.plain_weight()}}}},
              options, /*order=*/{0, 1, 0}) {
    flat_.assign({{"embedding", numbers(kVocabulary, kWidth)}, {"weight", numbers(kWidth, kWidth).cos()}});
  }
  FlatParameters& flat() { return flat_; }

  torch::Tensor step(const torch::Tensor& ids_B, const torch::Tensor& dlogits_BV) {
    const torch::NoGradGuard no_grad;
    torch::Tensor x_BD, hidden_BD, logits_BV;
    {
      const UnitUse use = flat_.forward_unit(0, /*keep=*/true);
      x_BD = embedding_.plain_weight().index_select(0, ids_B);
    }
    {
      const UnitUse use = flat_.forward_unit(1, /*keep=*/true);
      hidden_BD = middle_.apply(x_BD);
    }
    {
      const UnitUse use = flat_.forward_unit(0, /*keep=*/true);
      logits_BV = embedding_.apply(hidden_BD);
    }
    torch::Tensor d_BD;
    {
      const UnitUse use = flat_.backward_unit(0);
      d_BD = embedding_.backward(dlogits_BV.to(hidden_BD.scalar_type()), hidden_BD);
    }
    {
      const UnitUse use = flat_.backward_unit(1);
      d_BD = middle_.backward(d_BD, x_BD);
    }
    {
      const UnitUse use = flat_.backward_unit(0);
      if (const torch::Tensor gradient = embedding_.plain_weight().grad(); gradient.defined()) {
        gradient.index_add_(0, ids_B, d_BD);
      }
    }
    return logits_BV;
  }

 private:
  Linear embedding_{kWidth, kVocabulary, false}, middle_{kWidth, kWidth, false};
  FlatParameters flat_;
};

torch::Tensor ids() {
  return torch::tensor({3, 0, 3, 6});
}

torch::Tensor dlogits() {
  return numbers(kSamples, kVocabulary);
}

// The whole gradients by autograd.
std::map<std::string, torch::Tensor> expected_gradients() {
  TiedModel model({});
  const auto weights = model.flat().named_views(model.flat().compute());
  const torch::Tensor embedding = weights.at("embedding").clone().requires_grad_(),
                      middle = weights.at("weight").clone().requires_grad_();
  const torch::Tensor hidden = at::linear(at::embedding(embedding, ids()), middle);
  at::linear(hidden, embedding).backward(dlogits());
  return {{"embedding", embedding.grad()}, {"weight", middle.grad()}};
}

TEST(TiedUnit, GradientsOfBothUsesAddUp) {
  const auto expected = expected_gradients();
  TiedModel model({.training = true});
  model.step(ids(), dlogits());
  for (const auto& [name, gradient] : model.flat().named_views(model.flat().grad())) {
    EXPECT_TRUE(torch::allclose(gradient, expected.at(name), 1e-5, 1e-6)) << name;
  }
}

TEST(TiedUnit, TwoRanksAgreeWithOne) {
  const auto expected = expected_gradients();
  for (const MeshShape& shape : {MeshShape{.dp_shard = 2}, {.dp_replicate = 2}}) {
    for (const Reshard reshard : {Reshard::kDefault, Reshard::kAlways, Reshard::kNever}) {
      for (const int microbatches : {1, 2}) {
        as_ranks(2, shape, [&](Communicator& ranks) {
          TiedModel model({.training = true, .mesh = &ranks.mesh(), .reshard = reshard});
          for (int step = 0; step < 2; ++step) {
            model.flat().grad().zero_();
            const int64_t rows = kSamples / 2 / microbatches, begin = ranks.mesh().data_rank() * (kSamples / 2);
            for (int i = 0; i < microbatches; ++i) {
              model.flat().set_last_microbatch(i + 1 == microbatches);
              model.step(ids().narrow(0, begin + i * rows, rows), dlogits().narrow(0, begin + i * rows, rows));
            }
            model.flat().finish_backward();
            for (const ParameterPiece& piece : model.flat().pieces()) {
              const torch::Tensor whole = expected.at(piece.name).flatten().narrow(0, piece.offset, piece.size);
              EXPECT_TRUE(torch::allclose(piece.view(model.flat().grad()), whole, 1e-5, 1e-6)) << piece.name;
            }
          }
        });
      }
    }
  }
}

class TiedUnitTraffic : public testing::Test {
 protected:
  int64_t calls(const FlatParametersOptions& like, Collective kind) {
    FlatParametersOptions options = like;
    const auto ranks = fake(2, 0, {.shape = {.dp_shard = 2}});
    options.mesh = &ranks->mesh();
    TiedModel model(options);
    model.step(ids(), dlogits());
    model.flat().finish_backward();
    return ranks->mesh().shard().traffic()[kind].calls;
  }
};

TEST_F(TiedUnitTraffic, EachUnitIsReducedOnce) {
  for (const torch::Dtype dtype : {torch::kFloat32, torch::kBFloat16}) {
    EXPECT_EQ(calls({.compute_dtype = dtype, .training = true}, Collective::kReduceScatter), 2);
  }
}

// Forward the embedding, the middle and the embedding again; backward the embedding is still there, then the middle and
// the embedding. Where nothing is released, one gather each.
TEST_F(TiedUnitTraffic, GathersFollowTheOrderOfUse) {
  EXPECT_EQ(calls({.training = true}, Collective::kAllGather), 5);
  EXPECT_EQ(calls({.training = true, .reshard = Reshard::kAlways}, Collective::kAllGather), 6);
  EXPECT_EQ(calls({.training = true, .reshard = Reshard::kNever}, Collective::kAllGather), 2);
  EXPECT_EQ(calls({}, Collective::kAllGather), 5);
}

}  // namespace
}  // namespace millrace
