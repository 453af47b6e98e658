#include "models/llama/model.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "adapters/lora.h"
#include "base/error.h"
#include "models/llama/rope_frequencies.h"

namespace millrace::llama {
namespace {

using nlohmann::json;

json small_sizes(const std::string& model_type) {
  json sizes = {{"model_type", model_type}, {"vocab_size", 23},
                {"hidden_size", 12},        {"intermediate_size", 20},
                {"num_hidden_layers", 2},   {"num_attention_heads", 4},
                {"num_key_value_heads", 2}, {"head_dim", 6},
                {"rope_theta", 100.0},      {"tie_word_embeddings", model_type == "qwen2"},
                {"sliding_window", 3}};
  if (model_type == "qwen2" || model_type == "qwen3") sizes["use_sliding_window"] = false;
  return sizes;
}

const std::vector<std::string> kModelTypes = {"llama", "mistral", "qwen2", "qwen3"};

constexpr int64_t kTokens = 18;

// A small model with random weights, two rows of tokens, the first with two documents.
class LlamaPass : public testing::TestWithParam<std::string> {
 protected:
  LlamaPass() {
    torch::manual_seed(4);
    std::map<std::string, torch::Tensor> weights;
    for (const ParameterSlice& slice : model.flat_parameters().slices()) {
      weights[slice.name] = torch::randn(slice.shape) * 0.4 + (slice.name.find("norm") != std::string::npos ? 1 : 0);
    }
    model.flat_parameters().assign(weights);
    ids_BL = torch::randint(0, 23, {2, kTokens / 2}, torch::kInt64);
    positions_BL = torch::cat({torch::arange(5), torch::arange(4), torch::arange(7, 16)}).view({2, -1});
    dlogits_TV = torch::randn({kTokens, 23});
  }

  PackedTokens tokens() const { return pack_tokens(ids_BL, positions_BL, {}, "the test"); }
  torch::Tensor backward(Keep keep) {
    if (model.flat_parameters().grad().defined()) model.flat_parameters().grad().zero_();
    Llama::Saved saved;
    model.forward_hidden(tokens(), &saved, keep);
    model.backward_hidden(saved, model.backward_logits(saved, dlogits_TV));
    return model.flat_parameters().grad();
  }
  double loss() {
    const torch::Tensor logits = model.logits(model.forward_hidden(tokens()));
    return (logits.to(torch::kFloat64) * dlogits_TV.to(torch::kFloat64)).sum().item<double>();
  }

  LlamaConfig config = config_from_json(small_sizes(GetParam()), "the test");
  Llama model{config, {.training = true}};
  torch::Tensor ids_BL, positions_BL, dlogits_TV;
};

TEST_P(LlamaPass, GradientsMatchFiniteDifferencesAlongEachParameter) {
  const torch::Tensor gradients = backward(Keep::kOutputs).clone();
  for (const ParameterSlice& slice : model.flat_parameters().slices()) {
    torch::Tensor weights = model.flat_parameters().compute().narrow(0, slice.begin, slice.size);
    const torch::Tensor gradient = gradients.narrow(0, slice.begin, slice.size), before = weights.clone();
    // The bias of a key moves all scores of a query alike, but for the rotation.
    const double expected = gradient.norm().item<double>(), step = 2e-3;
    ASSERT_GT(expected, 0) << slice.name;
    weights.copy_(before + gradient * (step / expected));
    const double above = loss();
    weights.copy_(before - gradient * (step / expected));
    const double below = loss();
    weights.copy_(before);
    EXPECT_NEAR((above - below) / (2 * step), expected, 0.02 * expected + 2e-3) << slice.name;
  }
}

TEST_P(LlamaPass, RecomputeModesGiveTheSameGradientsBitForBit) {
  const torch::Tensor all = backward(Keep::kAll).clone();
  EXPECT_TRUE(at::equal(backward(Keep::kOutputs), all));
  EXPECT_TRUE(at::equal(backward(Keep::kInputs), all));
  EXPECT_EQ(model.offloaded_inputs(), nullptr);
  EXPECT_TRUE(at::equal(backward(Keep::kInputsOnHost), all));
  EXPECT_GT(model.offloaded_inputs()->host_bytes(1), 0);
}

TEST_P(LlamaPass, TheLossWithoutLogitsHasTheGradientsOfTheLossWithThem) {
  const torch::Tensor labels_T =
      ids_BL.flatten().roll({-1}).masked_fill(torch::arange(kTokens) % 4 == 0, kIgnoredLabel);
  const torch::Tensor logits = model.logits(model.forward_hidden(tokens())).to(torch::kFloat64).requires_grad_();
  const torch::Tensor expected =
      torch::nll_loss(torch::log_softmax(logits, 1), labels_T, {}, at::Reduction::Sum, kIgnoredLabel);
  (expected * 0.5).backward();
  dlogits_TV = logits.grad().to(torch::kFloat32);
  const torch::Tensor gradients = backward(Keep::kOutputs).clone();

  model.flat_parameters().grad().zero_();
  Llama::Saved saved;
  model.forward_hidden(tokens(), &saved);
  const TokenLoss loss = model.backward_loss(saved, labels_T, 0.5);
  EXPECT_EQ(loss.count, 13);
  EXPECT_NEAR(loss.sum, expected.item<double>(), 1e-5 * loss.sum);
  EXPECT_LT((model.flat_parameters().grad() - gradients).norm().item<double>(), 1e-5 * gradients.norm().item<double>());
  EXPECT_NEAR(model.loss(model.forward_hidden(tokens()), labels_T).sum, loss.sum, 1e-6 * loss.sum);
}

// Where the documents of a packed batch are passes of their own.
TEST_P(LlamaPass, ADocumentDoesNotKnowItsNeighbours) {
  const torch::Tensor packed_TV = model.logits(model.forward_hidden(tokens()));
  const torch::Tensor alone_BL = ids_BL.narrow(0, 0, 1).narrow(1, 5, 4);
  const torch::Tensor alone_TV = model.logits(model.forward_hidden(pack_tokens(alone_BL, {}, {}, "the test")));
  EXPECT_TRUE(torch::allclose(packed_TV.narrow(0, 5, 4), alone_TV, 1e-5, 1e-5));
}

TEST_P(LlamaPass, AdaptersOfAFrozenModelLearnInEveryRecomputeMode) {
  Llama frozen(config, {});
  frozen.flat_parameters().assign(model.flat_parameters().named_views(model.flat_parameters().compute()));
  UnitSpec unit{"adapters", {}};
  for (const auto& [name, layer] : frozen.linear_layers()) {
    const auto lora = std::make_shared<Lora>(layer->in_features(), layer->out_features(), 2, 0.5);
    layer->set_adapter(lora);
    unit.parameters.emplace_back(name + ".down", lora->down_RK);
    unit.parameters.emplace_back(name + ".up", lora->up_NR);
  }
  EXPECT_EQ(frozen.linear_layers().size(), 15u);
  FlatParameters adapters({unit}, {.training = true});
  adapters.compute().normal_(0, 0.2);
  const auto gradients = [&](Keep keep) {
    adapters.grad().zero_();
    Llama::Saved saved;
    frozen.forward_hidden(tokens(), &saved, keep);
    frozen.backward_hidden(saved, frozen.backward_logits(saved, dlogits_TV));
    return adapters.grad().clone();
  };
  const torch::Tensor all = gradients(Keep::kAll);
  EXPECT_TRUE(at::equal(gradients(Keep::kOutputs), all));
  EXPECT_TRUE(at::equal(gradients(Keep::kInputs), all));
  EXPECT_TRUE(at::equal(gradients(Keep::kInputsOnHost), all));
  EXPECT_FALSE(frozen.flat_parameters().grad().defined());
  for (const ParameterSlice& slice : adapters.slices()) {
    EXPECT_GT(all.narrow(0, slice.begin, slice.size).abs().max().item<float>(), 0) << slice.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, LlamaPass, testing::ValuesIn(kModelTypes),
                         [](const auto& test) { return test.param; });

TEST(LlamaConfig, HuggingFacesFileRoundTrips) {
  for (const std::string& model_type : kModelTypes) {
    const LlamaConfig config = config_from_json(small_sizes(model_type), "the test");
    const std::string text = to_hugging_face_json(config).dump();
    const LlamaConfig again = config_from_json(json::parse(text), "the test");
    EXPECT_EQ(to_hugging_face_json(again).dump(), text);
    EXPECT_EQ(again.windows, config.windows);
    EXPECT_EQ(again.qkv_bias, model_type == "qwen2");
    EXPECT_EQ(again.qk_norm, model_type == "qwen3");
  }
}

TEST(LlamaConfig, WindowsAreTheLayersThatTheFileNames) {
  json sizes = small_sizes("qwen2");
  sizes["use_sliding_window"] = true;
  sizes["max_window_layers"] = 1;
  EXPECT_EQ(config_from_json(sizes, "the test").windows, (std::vector<int64_t>{0, 3}));
  sizes["layer_types"] = {"sliding_attention", "full_attention"};
  EXPECT_EQ(config_from_json(sizes, "the test").windows, (std::vector<int64_t>{3, 0}));
  sizes = small_sizes("mistral");
  sizes["sliding_window"] = nullptr;
  EXPECT_EQ(config_from_json(sizes, "the test").windows, (std::vector<int64_t>{0, 0}));
}

TEST(LlamaConfig, WhatTheNetworkDoesNotHaveIsRefused) {
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, json>>{{"model_type", "mixtral"},
                                                 {"num_experts", 4},
                                                 {"hidden_act", "gelu"},
                                                 {"head_dim", 5},
                                                 {"num_key_value_heads", 3},
                                                 {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}},
                                                 {"rope_scaling", "linear"},
                                                 {"partial_rotary_factor", 0.5}}) {
    json sizes = small_sizes("llama");
    sizes[key] = value;
    EXPECT_THROW(config_from_json(sizes, "the test"), ModelError) << key;
  }
}

TEST(LlamaConfig, MixturesOfExpertsAreRefusedByName) {
  for (const char* name : {"llama4", "qwen3_moe", "mixtral"}) {
    json sizes = small_sizes("llama");
    sizes["model_type"] = name;
    try {
      config_from_json(sizes, "the test");
      ADD_FAILURE() << name;
    } catch (const ModelError& error) {
      EXPECT_NE(std::string(error.what()).find(std::string("got ") + name + ", a mixture of experts"),
                std::string::npos);
    }
  }
}

// The published values of Llama 3.1: 29 pairs stay, 6 blend, 29 are divided by 8.
TEST(RopeFrequencies, Llama3StretchesLongWavelengths) {
  RopeConfig rope{.theta = 500000, .kind = RopeKind::kLlama3, .factor = 8};
  const torch::Tensor stretched = rope_frequencies(rope, 128);
  rope.kind = RopeKind::kPlain;
  const torch::Tensor ratio = rope_frequencies(rope, 128) / stretched;
  EXPECT_TRUE(torch::allclose(ratio.narrow(0, 0, 29), torch::ones({29}), 1e-6, 0));
  EXPECT_TRUE(torch::allclose(ratio.narrow(0, 35, 29), torch::full({29}, 8.0), 1e-6, 0));
  EXPECT_TRUE((ratio.narrow(0, 29, 6) > 1).logical_and(ratio.narrow(0, 29, 6) < 8).all().item<bool>());
  EXPECT_NEAR(stretched[28].item<double>(), 3.211445994752591e-03, 1e-9);
  EXPECT_NEAR(stretched[30].item<double>(), 1.3718935677611381e-03, 1e-9);
  EXPECT_NEAR(stretched[63].item<double>(), 3.068925988914511e-07, 1e-13);
}

TEST(PackTokens, DocumentsEndWherePositionsRestartAndWhereRowsEnd) {
  const torch::Tensor ids_BL = torch::arange(12).view({2, 6});
  EXPECT_EQ(pack_tokens(ids_BL, {}, {}, "").documents.lengths(), (std::vector<int64_t>{6, 6}));
  const torch::Tensor positions_BL = torch::tensor({{0, 1, 0, 0, 1, 2}, {4, 5, 6, 8, 9, 0}});
  const PackedTokens packed = pack_tokens(ids_BL, positions_BL, {}, "");
  EXPECT_EQ(packed.documents.lengths(), (std::vector<int64_t>{2, 1, 3, 3, 2, 1}));
  EXPECT_TRUE(torch::equal(packed.positions_T, positions_BL.flatten()));
  const torch::Tensor mask_BL = torch::tensor({{0, 0, 1, 1, 1, 0}, {1, 1, 1, 1, 1, 1}});
  EXPECT_EQ(pack_tokens(ids_BL, {}, mask_BL, "").documents.lengths(), (std::vector<int64_t>{2, 3, 1, 6}));
  EXPECT_THROW(pack_tokens(ids_BL, {}, mask_BL * 2, ""), DataError);
  EXPECT_THROW(pack_tokens(ids_BL, {}, mask_BL.roll({3}, {1}), ""), DataError);
  EXPECT_THROW(pack_tokens(ids_BL, positions_BL - 1, {}, ""), DataError);
}

}  // namespace
}  // namespace millrace::llama
