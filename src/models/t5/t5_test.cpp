#include <gtest/gtest.h>

#include "base/error.h"
#include "models/t5/model.h"
#include "nn/plain_layers.h"

namespace millrace::t5 {
namespace {

int64_t bucket(const torch::Tensor& buckets_LL, int64_t query, int64_t key) {
  return buckets_LL[query][key].item<int64_t>();
}

TEST(RelativePositionBuckets, MatchTransformersAtTheEdges) {
  // Values of T5Attention._relative_position_bucket(num_buckets=32, max_distance=128).
  const torch::Tensor buckets_LL = relative_position_buckets(200, 32, 128, torch::kCPU);
  EXPECT_EQ(bucket(buckets_LL, 5, 5), 0);
  EXPECT_EQ(bucket(buckets_LL, 5, 4), 1);
  EXPECT_EQ(bucket(buckets_LL, 5, 6), 17);
  EXPECT_EQ(bucket(buckets_LL, 50, 43), 7);
  EXPECT_EQ(bucket(buckets_LL, 50, 42), 8);   // the first of the logarithmic ones
  EXPECT_EQ(bucket(buckets_LL, 50, 38), 9);   // distance 12
  EXPECT_EQ(bucket(buckets_LL, 50, 34), 10);  // distance 16
  EXPECT_EQ(bucket(buckets_LL, 100, 36), 14);
  EXPECT_EQ(bucket(buckets_LL, 0, 127), 31);
  EXPECT_EQ(bucket(buckets_LL, 0, 128), 31);
  EXPECT_EQ(bucket(buckets_LL, 199, 0), 15);
}

TEST(RelativePositionBuckets, DependOnTheDistanceAlone) {
  const torch::Tensor buckets_LL = relative_position_buckets(40, 12, 30, torch::kCPU);
  EXPECT_TRUE(torch::equal(buckets_LL.slice(0, 1).slice(1, 1), buckets_LL.slice(0, 0, -1).slice(1, 0, -1)));
}

T5Config small() {
  T5Config config;
  config.vocab_size = 11;
  config.d_model = 6;
  config.d_kv = 5;
  config.d_ff = 7;
  config.num_layers = 2;
  config.num_heads = 3;
  return config;
}

TEST(T5, TextsOfABatchDoNotMix) {
  T5Encoder model(small(), torch::kFloat32);
  init_normal(model, 0.2, 1);
  const torch::NoGradGuard no_grad;
  const torch::Tensor ids_BL = torch::tensor({{1, 2, 3}, {4, 5, 6}});
  const torch::Tensor together = model.forward(ids_BL)[1], alone = model.forward(ids_BL.slice(0, 1))[0];
  EXPECT_LT((together - alone).norm().item<double>(), 1e-5 * alone.norm().item<double>());
}

TEST(T5, MaskedPaddingIsAsIfItWereNotThere) {
  T5Encoder model(small(), torch::kFloat32);
  init_normal(model, 0.2, 1);
  const torch::NoGradGuard no_grad;
  const torch::Tensor ids_BL = torch::tensor({{1, 2, 3, 0, 0}, {4, 5, 6, 7, 8}});
  const torch::Tensor together = model.forward(ids_BL, nullptr, {3, 5});
  const torch::Tensor first = model.forward(ids_BL.slice(0, 0, 1).slice(1, 0, 3))[0],
                      second = model.forward(ids_BL.slice(0, 1))[0];
  EXPECT_LT((together[0].slice(0, 0, 3) - first).norm().item<double>(), 1e-5 * first.norm().item<double>());
  EXPECT_LT((together[1] - second).norm().item<double>(), 1e-5 * second.norm().item<double>());
}

TEST(T5, IdsOutsideTheVocabularyAreRefused) {
  T5Encoder model(small(), torch::kFloat32);
  EXPECT_THROW(model.forward(torch::tensor({{1, 11}})), ModelError);
  EXPECT_THROW(model.forward(torch::tensor({{1, -1}})), ModelError);
  EXPECT_THROW(model.forward(torch::tensor({1, 2})), ModelError);
  EXPECT_THROW(model.forward(torch::tensor({{1.0f}})), ModelError);
}

TEST(T5Config, ShapesTellTheSizesOfAFile) {
  T5Config config = small();
  const T5Config found = config_from_shapes(shapes_of(T5Encoder(config, torch::TensorOptions(torch::kMeta))), "file");
  EXPECT_EQ(found.d_kv, 5);
  EXPECT_EQ(found.num_heads, 3);
  EXPECT_EQ(found.num_layers, 2);
  EXPECT_EQ(found.feed_forward_proj, "gated-gelu");
  config.feed_forward_proj = "relu";
  const ShapeMap old = shapes_of(T5Encoder(config, torch::TensorOptions(torch::kMeta)));
  EXPECT_EQ(config_from_shapes(old, "file").feed_forward_proj, "relu");
  EXPECT_THROW(config_from_shapes({{"shared.weight", {3, 4}}}, "file"), ModelError);
}

TEST(T5Config, SizesThatDivideByZeroAreRefused) {
  T5Config config;
  config.relative_attention_num_buckets = 3;
  EXPECT_THROW(check(config, "file"), ModelError);
  config.relative_attention_num_buckets = 32;
  config.relative_attention_max_distance = 8;
  EXPECT_THROW(check(config, "file"), ModelError);
}

TEST(InitNormal, SameSeedSameWeights) {
  T5Encoder a(small(), torch::kFloat32), b(small(), torch::kFloat32), c(small(), torch::kFloat32);
  init_normal(a, 0.02, 5);
  init_normal(b, 0.02, 5);
  init_normal(c, 0.02, 6);
  const auto first = [](const T5Encoder& model) { return parameters_of(model).at("shared.weight"); };
  EXPECT_TRUE(torch::equal(first(a), first(b)));
  EXPECT_FALSE(torch::equal(first(a), first(c)));
  EXPECT_TRUE(torch::equal(parameters_of(a).at("encoder.final_layer_norm.weight"), torch::ones({6})));
}

}  // namespace
}  // namespace millrace::t5
