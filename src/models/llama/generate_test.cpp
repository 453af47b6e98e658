#include "models/llama/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace millrace::llama {
namespace {

// Every family, with a window that the sequence outgrows.
Llama random_model(const std::string& model_type) {
  const nlohmann::json sizes = {{"model_type", model_type},   {"vocab_size", 40},       {"hidden_size", 16},
                                {"intermediate_size", 24},    {"num_hidden_layers", 2}, {"num_attention_heads", 4},
                                {"num_key_value_heads", 2},   {"head_dim", 6},          {"sliding_window", 5},
                                {"use_sliding_window", true}, {"max_window_layers", 1}};
  Llama model(config_from_json(sizes, "the test"), FlatParametersOptions{});
  torch::manual_seed(3);
  std::map<std::string, torch::Tensor> weights;
  for (const auto& [name, shape] : model.flat_parameters().shapes()) weights[name] = torch::randn(shape);
  model.flat_parameters().assign(weights);
  return model;
}

TEST(Generate, TheCacheGivesWhatWholePassesGive) {
  for (const char* model_type : {"llama", "mistral", "qwen2", "qwen3"}) {
    Llama model = random_model(model_type);
    std::vector<int64_t> sequence = {7, 11, 2};
    const std::vector<int64_t> generated = generate_greedily(model, sequence, 12);
    ASSERT_EQ(generated.size(), 12u);
    for (const int64_t token : generated) {
      const torch::Tensor ids_BL = torch::tensor(sequence, torch::kInt64).unsqueeze(0);
      const torch::Tensor logits_TV = model.logits(model.forward_hidden(pack_tokens(ids_BL, {}, {}, "the test")));
      const torch::Tensor last_V = logits_TV[static_cast<int64_t>(sequence.size()) - 1];
      EXPECT_EQ(token, last_V.argmax().item<int64_t>()) << model_type << " after " << sequence.size();
      sequence.push_back(token);
    }
  }
}

TEST(Generate, StopsBeforeAStopToken) {
  Llama model = random_model("llama");
  const std::vector<int64_t> all = generate_greedily(model, {7, 11, 2}, 8);
  const auto stop = static_cast<size_t>(std::find(all.begin(), all.end(), all[3]) - all.begin());
  EXPECT_EQ(generate_greedily(model, {7, 11, 2}, 8, {all[3]}),
            std::vector<int64_t>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(stop)));
  EXPECT_THROW(generate_greedily(model, {}, 8), ModelError);
  EXPECT_THROW(generate_greedily(model, {40}, 8), ModelError);
}

TEST(Generate, DrawsEachTokenAsOftenAsItIsLikely) {
  const torch::Tensor logits_V = torch::log(torch::tensor({0.1, 0.6, 0.3}));
  // The likeliest first: 1 up to 0.6, then 2 up to 0.9, then 0.
  EXPECT_EQ(draw_token(logits_V, 1, 1, 0.0), 1);
  EXPECT_EQ(draw_token(logits_V, 1, 1, 0.59), 1);
  EXPECT_EQ(draw_token(logits_V, 1, 1, 0.61), 2);
  EXPECT_EQ(draw_token(logits_V, 1, 1, 0.91), 0);
  // A temperature of 1/2 squares the odds: 36 to 9 to 1.
  EXPECT_EQ(draw_token(logits_V, 0.5, 1, 35.9 / 46), 1);
  EXPECT_EQ(draw_token(logits_V, 0.5, 1, 36.1 / 46), 2);
}

TEST(Generate, TopPKeepsTheFewestTokensOfThatProbability) {
  const torch::Tensor logits_V = torch::log(torch::tensor({0.1, 0.6, 0.3}));
  EXPECT_EQ(draw_token(logits_V, 1, 0.5, 0.999), 1);
  EXPECT_EQ(draw_token(logits_V, 1, 0.7, 0.65), 1);  // of 0.9
  EXPECT_EQ(draw_token(logits_V, 1, 0.7, 0.999), 2);
}

TEST(Generate, ManyTokensAreDrawnInOrderOfProbability) {
  torch::manual_seed(4);
  const torch::Tensor logits_V = (torch::randn({500}) * 3).round();  // many alike
  const auto [sorted, order] = logits_V.sort(/*stable=*/true, 0, /*descending=*/true);
  const torch::Tensor ends = torch::softmax(sorted.to(torch::kFloat64) / 1.5, 0).cumsum(0);
  for (const double top_p : {1.0, 0.8}) {
    const int64_t kept = top_p < 1 ? ends.lt(top_p).sum().item<int64_t>() + 1 : 500;
    const double mass = ends[kept - 1].item<double>();
    for (double u = 0.0005; u < 1; u += 0.001) {
      const int64_t place = ends.le(u * mass).sum().item<int64_t>();
      EXPECT_EQ(draw_token(logits_V, 1.5, top_p, u), order[place].item<int64_t>()) << u << " of " << top_p;
    }
  }
}

TEST(Generate, GivesEachTokenAsSoonAsItIsKnown) {
  Llama model = random_model("llama");
  std::vector<int64_t> seen;
  GenerateOptions options{.max_new_tokens = 5, .on_token = [&](int64_t token) { seen.push_back(token); }};
  EXPECT_EQ(generate(model, {7, 11, 2}, options), seen);
  EXPECT_EQ(seen.size(), 5u);
}

TEST(Generate, TheSeedAndTheNumberOfTheTextDecideWhatIsDrawn) {
  Llama model = random_model("llama");
  GenerateOptions options{.max_new_tokens = 12, .temperature = 3};
  const std::vector<int64_t> first = generate(model, {7, 11, 2}, options);
  EXPECT_EQ(generate(model, {7, 11, 2}, options), first);
  options.id = 1;
  EXPECT_NE(generate(model, {7, 11, 2}, options), first);
  options.id = 0;
  options.seed = 1;
  EXPECT_NE(generate(model, {7, 11, 2}, options), first);
}

}  // namespace
}  // namespace millrace::llama
