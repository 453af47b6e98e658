#include "adapters/lora_initialize.h"

#include <gtest/gtest.h>

#include <cmath>

#include "adapters/kohya_names.h"
#include "adapters/layer_patterns.h"
#include "base/error.h"

namespace millrace {
namespace {

TEST(LoraInitialize, DownIsUniformWithinTheInverseRootOfItsInputs) {
  const torch::Tensor down = initial_lora_matrix("a.down", {64, 400}, 3, torch::kCPU);
  const double bound = 1 / std::sqrt(400.0);
  EXPECT_LE(down.abs().max().item<double>(), bound);
  EXPECT_GT(down.abs().max().item<double>(), 0.999 * bound);
  // U(-b, b) has the standard deviation b / sqrt(3); of 25,600 numbers it is known to within 2 %.
  EXPECT_NEAR(down.std().item<double>() * std::sqrt(3.0) / bound, 1, 0.02);
  EXPECT_NEAR(down.mean().item<double>() / bound, 0, 0.02);
}

TEST(LoraInitialize, UpIsZeroAndDownBelongsToNameAndSeed) {
  EXPECT_EQ(initial_lora_matrix("a.up", {3, 4}, 3, torch::kCPU).abs().sum().item<float>(), 0);
  const torch::Tensor one = initial_lora_matrix("a.down", {2, 5}, 3, torch::kCPU);
  EXPECT_TRUE(at::equal(one, initial_lora_matrix("a.down", {2, 5}, 3, torch::kCPU)));
  EXPECT_FALSE(at::equal(one, initial_lora_matrix("b.down", {2, 5}, 3, torch::kCPU)));
  EXPECT_FALSE(at::equal(one, initial_lora_matrix("a.down", {2, 5}, 4, torch::kCPU)));
}

TEST(LayerPatterns, ChooseLayersInTheModelsOrder) {
  const std::vector<std::string> names = {"in", "blocks.0.qkv", "blocks.0.mlp.0", "blocks.10.qkv"};
  EXPECT_EQ(matching_layers(names, {"blocks.*.qkv"}, "lora.targets"),
            (std::vector<std::string>{"blocks.0.qkv", "blocks.10.qkv"}));
  EXPECT_EQ(matching_layers(names, {"*.mlp.?", "in", "blocks.0.*"}, "lora.targets"),
            (std::vector<std::string>{"in", "blocks.0.qkv", "blocks.0.mlp.0"}));
  EXPECT_TRUE(matching_layers(names, {}, "lora.targets").empty());
}

TEST(LayerPatterns, APatternWithoutALayerIsNamedWithTheNearest) {
  try {
    matching_layers({"blocks.0.qkv", "blocks.0.proj"}, {"blocks.0.qkw"}, "lora.targets");
    FAIL() << "expected an error";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "[lora.targets] expected the name of a linear layer or a pattern of such names, got \"blocks.0.qkw\", "
                 "which matches none (try \"blocks.0.qkv\")");
  }
}

TEST(KohyaNames, AreTheLayersWithUnderscores) {
  EXPECT_EQ(kohya_name("double_blocks.0.img_attn.qkv.down"), "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight");
  EXPECT_EQ(kohya_name("single_blocks.37.modulation.lin.up"),
            "lora_unet_single_blocks_37_modulation_lin.lora_up.weight");
}

TEST(KohyaNames, AlphaOverRankIsTheScaleThatTrained) {
  LoraConfig config{.rank = 16, .alpha = 8, .rank_stabilised = true, .targets = {}};
  const TensorMap alphas =
      kohya_alphas({{"a.b.down", torch::zeros({16, 3})}, {"a.b.up", torch::zeros({2, 16})}}, config);
  ASSERT_EQ(alphas.size(), 1u);
  EXPECT_EQ(alphas.begin()->first, "lora_unet_a_b.alpha");
  EXPECT_EQ(alphas.begin()->second.dim(), 0);
  EXPECT_FLOAT_EQ(alphas.begin()->second.item<float>() / 16, static_cast<float>(config.scale()));
  config.rank_stabilised = false;
  EXPECT_EQ(kohya_alphas({{"a.b.up", torch::zeros({2, 16})}}, config).begin()->second.item<float>(), 8);
}

}  // namespace
}  // namespace millrace
