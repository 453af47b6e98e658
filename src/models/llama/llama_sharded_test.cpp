// Two ranks with half the parameters each, or with half of every layer, give the gradients of one.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "comm/socket_ranks_test_support.h"
#include "models/llama/model.h"
#include "models/llama/shard_plan.h"

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

// 23 tokens: one rank has a token more. Six query heads share two key heads.
LlamaConfig config_of(const std::string& model_type, bool tied) {
  nlohmann::json json = {{"model_type", model_type}, {"vocab_size", 23},       {"hidden_size", 12},
                         {"intermediate_size", 20},  {"num_hidden_layers", 2}, {"num_attention_heads", 6},
                         {"num_key_value_heads", 2}, {"head_dim", 4},          {"tie_word_embeddings", tied},
                         {"sliding_window", 3}};
  if (model_type == "llama") json.update({{"attention_bias", true}, {"mlp_bias", true}});
  return config_from_json(json, "the test");
}

// The region of a whole tensor that a piece is.
torch::Tensor region(const torch::Tensor& whole, const ParameterPiece& piece) {
  if (!piece.is_box()) return whole.flatten().narrow(0, piece.offset, piece.size);
  return whole.narrow(0, piece.start[0], piece.shape[0]).narrow(1, piece.start[1], piece.shape[1]);
}

struct Results {
  torch::Tensor logits_TV, next_V;
  TokenLoss loss, trained_loss;
};

Results results_of(Llama& model, const torch::Tensor& ids_BL, Keep keep) {
  Results results;
  const torch::Tensor labels_T = ids_BL.flatten().roll({-1});
  const torch::Tensor hidden_TD = model.forward_hidden(pack_tokens(ids_BL, {}, {}, "the test"));
  results.logits_TV = model.logits(hidden_TD);
  results.loss = model.loss(hidden_TD, labels_T);
  std::vector<KeyValueCache> cache = model.make_cache(8);
  model.next_logits(ids_BL[0], cache);
  results.next_V = model.next_logits(ids_BL[1].narrow(0, 0, 1), cache);
  Llama::Saved saved;
  model.forward_hidden(pack_tokens(ids_BL, {}, {}, "the test"), &saved, keep);
  results.trained_loss = model.backward_loss(saved, labels_T, 0.1);
  model.flat_parameters().finish_backward();
  return results;
}

TEST(TensorParallelLlama, RanksThatShareLayersAgreeWithOne) {
  for (const char* model_type : {"llama", "mistral", "qwen2", "qwen3"}) {
    for (const bool tied : {false, true}) {
      // Of 15 tokens the second rank has 7 and one of padding.
      const torch::Tensor ids_BL = (torch::arange(tied ? 15 : 20) * 7 % 23).view({-1, 5});
      const LlamaConfig config = config_of(model_type, tied);
      Llama whole(config, {.training = true});
      fill(whole);
      const Results expected = results_of(whole, ids_BL, Keep::kOutputs);
      const auto gradients = whole.flat_parameters().named_views(whole.flat_parameters().grad());
      const int shards = tied ? 2 : 1;
      as_ranks(2 * shards, {.dp_shard = shards, .tp = 2}, [&](Communicator& ranks) {
        Llama model(config, {.training = true, .mesh = &ranks.mesh()});
        fill(model);
        const Results got = results_of(model, ids_BL, tied ? Keep::kInputs : Keep::kOutputs);
        EXPECT_TRUE(torch::allclose(got.logits_TV, expected.logits_TV, 1e-4, 1e-5)) << model_type;
        EXPECT_TRUE(torch::allclose(got.next_V, expected.next_V, 1e-4, 1e-5)) << model_type;
        EXPECT_NEAR(got.loss.sum, expected.loss.sum, 1e-5 * expected.loss.sum);
        EXPECT_NEAR(got.trained_loss.sum, expected.trained_loss.sum, 1e-5 * expected.loss.sum);
        EXPECT_EQ(got.loss.count, expected.loss.count);
        for (const ParameterPiece& piece : model.flat_parameters().pieces()) {
          const torch::Tensor part = region(gradients.at(piece.name), piece) * shards;  // each has the same batch
          EXPECT_TRUE(torch::allclose(piece.view(model.flat_parameters().grad()), part, 1e-3, 1e-5))
              << model_type << " " << piece.name;
        }
      });
    }
  }
}

TEST(TensorParallelLlama, EveryRankStartsWithItsPartOfTheSameWeights) {
  const LlamaConfig config = config_of("qwen2", false);
  Llama whole(config, {});
  whole.initialize(3);
  const auto expected = whole.flat_parameters().named_views(whole.flat_parameters().compute());
  for (int rank = 0; rank < 4; ++rank) {
    const auto ranks = fake(4, rank, {.shape = {.dp_shard = 2, .tp = 2}});
    Llama part(config, {.training = true, .mesh = &ranks->mesh()});
    part.initialize(3);
    EXPECT_EQ(part.flat_parameters().shapes(), whole.flat_parameters().shapes());
    EXPECT_EQ(part.flat_parameters().num_parameters(), whole.flat_parameters().num_parameters());
    for (const ParameterPiece& piece : part.flat_parameters().pieces()) {
      EXPECT_TRUE(at::equal(piece.view(part.flat_parameters().master()), region(expected.at(piece.name), piece)))
          << piece.name;
    }
  }
}

// Two sums of activations per layer and direction, each of which leaves a rank its tokens, and as many gathers before
// the next products; the embedding's and the output layer's; for each token two numbers of its loss; the norms'
// gradients.
TEST(TensorParallelLlama, SendsTwoSumsOfActivationsPerLayerAndPass) {
  constexpr int64_t kTokens = 20;
  const LlamaConfig config = config_of("mistral", false);
  for (const Keep keep : {Keep::kAll, Keep::kOutputs, Keep::kInputs}) {
    const auto ranks = fake(2, 0, {.shape = {.tp = 2}});
    Llama model(config, {.training = true, .mesh = &ranks->mesh()});
    train(model, torch::arange(kTokens).view({4, 5}), keep);
    const int64_t activation = kTokens * config.hidden_size * 4, layers = config.num_hidden_layers;
    // Of attention, and both norms; the layer's output is not computed again.
    const int64_t sums_again = keep == Keep::kInputs ? layers : 0, norms_again = keep == Keep::kAll ? 0 : 2 * layers;
    const Traffic& traffic = ranks->mesh().tp().traffic();
    EXPECT_EQ(traffic[Collective::kReduceScatter].payload_bytes, (4 * layers + sums_again + 1) * activation);
    EXPECT_EQ(traffic[Collective::kAllGather].payload_bytes,
              (4 * layers + norms_again + 2) * activation + kTokens * 2 * 2 * 8);
    EXPECT_EQ(traffic[Collective::kAllReduce].payload_bytes, activation + (2 * layers + 1) * config.hidden_size * 4);
  }
}

TEST(LlamaShardPlan, DegreesThatDoNotDivideAreRefusedWithTheCount) {
  LlamaConfig config = config_of("llama", false);
  EXPECT_NO_THROW(check_tensor_parallel(config, 2));
  const auto problem = [&](int degree) -> std::string {
    try {
      check_tensor_parallel(config, degree);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(problem(3).find("expected a divisor of the model's 2 key and value heads"), std::string::npos);
  EXPECT_NE(problem(3).find("got 3 (try 2)"), std::string::npos);
  EXPECT_NE(problem(4).find("6 query heads"), std::string::npos);
  config.intermediate_size = 21;
  EXPECT_NE(problem(2).find("21 channels"), std::string::npos);
  config.intermediate_size = 20;
  config.vocab_size = 1;
  EXPECT_NE(problem(2).find("1 tokens"), std::string::npos);
}

TEST(LlamaShardPlan, CutsWhatMakesHeadsByRowsAndWhatJoinsThemByColumns) {
  const LlamaConfig config = config_of("llama", false);
  EXPECT_EQ(tensor_split(config, "model.layers.1.self_attn.q_proj.bias").dim, 0);
  EXPECT_EQ(tensor_split(config, "model.layers.1.self_attn.k_proj.weight").groups, (std::vector<int64_t>{8}));
  EXPECT_EQ(tensor_split(config, "model.layers.0.mlp.down_proj.weight").dim, 1);
  EXPECT_EQ(tensor_split(config, "model.embed_tokens.weight").groups, (std::vector<int64_t>{23}));
  for (const char* whole : {"model.norm.weight", "model.layers.0.self_attn.o_proj.bias",
                            "model.layers.0.mlp.down_proj.bias", "model.layers.0.self_attn.q_norm.weight"}) {
    EXPECT_TRUE(tensor_split(config, whole).is_whole()) << whole;
  }
}

}  // namespace
}  // namespace millrace::llama
