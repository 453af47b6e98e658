#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/clip/model.h"
#include "models/clip/weight_names.h"
#include "nn/plain_layers.h"

namespace millrace::clip {
namespace {

ClipConfig small(int64_t eos_token_id) {
  ClipConfig config;
  config.vocab_size = 12;
  config.hidden_size = 8;
  config.intermediate_size = 10;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.max_position_embeddings = 6;
  config.eos_token_id = eos_token_id;
  return config;
}

ClipOutput run(int64_t eos_token_id, const torch::Tensor& ids_BL) {
  Clip model(small(eos_token_id), torch::kFloat32);
  init_normal(model, 0.5, 1);
  const torch::NoGradGuard no_grad;
  return model.forward(ids_BL);
}

TEST(Clip, PooledIsTheStateAtTheFirstEndOfText) {
  const ClipOutput output = run(11, torch::tensor({{1, 11, 11, 11}, {1, 4, 3, 11}, {1, 2, 3, 4}}));
  for (const auto& [row, position] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 3}, {2, 0}}) {
    EXPECT_TRUE(torch::equal(output.pooled_BD[row], output.last_hidden_state_BLD[row][position])) << row;
  }
}

TEST(Clip, EndOfText2MeansTheHighestId) {
  const ClipOutput output = run(2, torch::tensor({{2, 1, 11, 11}, {1, 9, 3, 2}}));
  EXPECT_TRUE(torch::equal(output.pooled_BD[0], output.last_hidden_state_BLD[0][2]));
  EXPECT_TRUE(torch::equal(output.pooled_BD[1], output.last_hidden_state_BLD[1][1]));
}

TEST(Clip, LaterTokensDoNotChangeEarlierStates) {
  const torch::Tensor a = run(11, torch::tensor({{1, 2, 3, 4, 11}})).last_hidden_state_BLD;
  const torch::Tensor b = run(11, torch::tensor({{1, 2, 3, 7, 11}})).last_hidden_state_BLD;
  EXPECT_TRUE(torch::allclose(a.slice(1, 0, 3), b.slice(1, 0, 3), 1e-5, 1e-6));
  EXPECT_FALSE(torch::allclose(a.slice(1, 4), b.slice(1, 4), 1e-3, 1e-3));
}

TEST(Clip, TextsThatDoNotFitAreRefused) {
  EXPECT_THROW(run(11, torch::zeros({1, 7}, torch::kInt64)), ModelError);
  EXPECT_THROW(run(11, torch::tensor({{12}})), ModelError);
}

TEST(ClipConfig, ReadsTheTextPartOfAWholeModelsConfig) {
  const nlohmann::json text = {{"hidden_size", 32}, {"num_attention_heads", 4}, {"eos_token_id", 2}};
  const ClipConfig config =
      config_from_json({{"model_type", "clip"}, {"hidden_size", 99}, {"text_config", text}}, "file");
  EXPECT_EQ(config.hidden_size, 32);
  EXPECT_EQ(config.num_attention_heads, 4);
  EXPECT_EQ(config.eos_token_id, 2);
  EXPECT_EQ(config.vocab_size, 49408);  // Hugging Face's default for what is absent
}

TEST(ClipNames, AreReadWithAndWithoutPrefix) {
  const ClipConfig config = small(2);
  const WeightRules written = weight_rules(config);
  EXPECT_EQ(written.front().theirs, written.front().ours);
  const ShapeMap bare = {{"embeddings.token_embedding.weight", {12, 8}}};
  for (const WeightRule& rule : weight_rules(config, bare)) EXPECT_EQ("text_model." + rule.theirs, rule.ours);
}

}  // namespace
}  // namespace millrace::clip
