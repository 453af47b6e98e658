// Two ranks with half the parameters each give the gradients of one.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "comm/socket_ranks_test_support.h"
#include "models/llama/model.h"

namespace millrace::llama {
namespace {

LlamaConfig small_config(bool tied) {
  return config_from_json({{"vocab_size", 23},
                           {"hidden_size", 12},
                           {"intermediate_size", 20},
                           {"num_hidden_layers", 3},
                           {"num_attention_heads", 2},
                           {"tie_word_embeddings", tied}},
                          "the test");
}

// Without a generator, which the ranks' threads would share.
torch::Tensor numbers(const std::vector<int64_t>& shape) {
  return (torch::ones(shape).flatten().cumsum(0) * 1.7).sin().view(shape);
}

void fill(Llama& model) {
  std::map<std::string, torch::Tensor> weights;
  for (const auto& [name, shape] : model.flat_parameters().shapes()) weights[name] = numbers(shape) * 0.3;
  model.flat_parameters().assign(weights);
}

void train(Llama& model, const torch::Tensor& ids_BL, Keep keep) {
  Llama::Saved saved;
  model.forward_hidden(pack_tokens(ids_BL, {}, {}, "the test"), &saved, keep);
  model.backward_loss(saved, ids_BL.flatten().roll({-1}), 0.1);
  model.flat_parameters().finish_backward();
}

TEST(ShardedLlama, TwoRanksAgreeWithOne) {
  const torch::Tensor ids_BL = (torch::arange(20) * 7 % 23).view({4, 5});
  for (const bool tied : {false, true}) {
    Llama whole(small_config(tied), {.training = true});
    fill(whole);
    train(whole, ids_BL.narrow(0, 0, 2), Keep::kOutputs);
    train(whole, ids_BL.narrow(0, 2, 2), Keep::kOutputs);
    const auto expected = whole.flat_parameters().named_views(whole.flat_parameters().grad());
    for (const Reshard reshard : {Reshard::kDefault, Reshard::kAlways, Reshard::kNever}) {
      as_ranks(2, {.dp_shard = 2}, [&](Communicator& ranks) {
        Llama model(small_config(tied), {.training = true, .mesh = &ranks.mesh(), .reshard = reshard});
        fill(model);
        for (int step = 0; step < 2; ++step) {
          model.flat_parameters().grad().zero_();
          train(model, ids_BL.narrow(0, 2 * ranks.mesh().data_rank(), 2), Keep::kInputs);
          for (const ParameterPiece& piece : model.flat_parameters().pieces()) {
            const torch::Tensor part = expected.at(piece.name).flatten().narrow(0, piece.offset, piece.size);
            EXPECT_TRUE(torch::allclose(piece.view(model.flat_parameters().grad()), part, 1e-4, 1e-6)) << piece.name;
          }
        }
      });
    }
  }
}

TEST(ShardedLlama, TensorParallelismIsRefused) {
  const auto ranks = fake(2, 0, {.shape = {.tp = 2}});
  EXPECT_THROW(Llama(small_config(true), {.mesh = &ranks->mesh()}), ConfigError);
}

}  // namespace
}  // namespace millrace::llama
