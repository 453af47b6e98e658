#include "adapters/lora_options.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace millrace {
namespace {

TEST(LoraOptions, TheFirstPatternThatFitsGivesTheRank) {
  const LoraConfig config{
      .rank = 16, .alpha = 8, .rank_patterns = {"double_blocks.*.img_mod.*=4", "double_blocks.*=0", "*=2"}};
  EXPECT_EQ(rank_of_layer(config, "double_blocks.3.img_mod.lin"), 4);
  EXPECT_EQ(rank_of_layer(config, "double_blocks.3.img_attn.qkv"), 0);
  EXPECT_EQ(rank_of_layer(config, "single_blocks.0.linear1"), 2);
  EXPECT_EQ(rank_of_layer({.rank = 16}, "single_blocks.0.linear1"), 16);
  EXPECT_EQ(scale_of_rank(config, 4), 2) << "alpha stays, as the rank changes";
  EXPECT_EQ(scale_of_rank({.rank = 16}, 4), 1) << "without an alpha it is the rank";
  EXPECT_EQ(scale_of_rank({.alpha = 8, .rank_stabilised = true}, 16), 2);
  EXPECT_EQ(number_for_layer({"a.*=0.25"}, "a.b", 1, "lora.lr_patterns"), 0.25);
}

bool is_refused(const LoraConfig& config) {
  Problems problems;
  check_lora(config, problems);
  return !problems.empty();
}

TEST(LoraOptions, WhatHasNoEffectOrCannotBeReadIsRefused) {
  EXPECT_FALSE(is_refused({}));
  EXPECT_TRUE(is_refused({.targets = {}}));
  for (const char* text : {"double_blocks.*", "=4", "a=x", "a=-1", "a=2.5", "a="}) {
    EXPECT_TRUE(is_refused({.rank_patterns = {text}})) << text;
  }
  EXPECT_FALSE(is_refused({.rank_patterns = {"a=0"}, .lr_patterns = {"a=2.5"}}));
  using enum AdapterKind;
  EXPECT_FALSE(is_refused({.loraplus_ratio = 16, .dropout = 0.1, .rank_dropout = 0.1, .module_dropout = 0.1}));
  EXPECT_TRUE(is_refused({.kind = kLokr, .dropout = 0.1}));
  EXPECT_TRUE(is_refused({.kind = kDora, .rank_dropout = 0.1}));
  EXPECT_TRUE(is_refused({.kind = kLoha, .module_dropout = 0.1}));
  EXPECT_TRUE(is_refused({.kind = kLoha, .loraplus_ratio = 2}));
  EXPECT_FALSE(is_refused({.kind = kDora, .loraplus_ratio = 2}));
  EXPECT_TRUE(is_refused({.kind = kDora, .scale_weight_norms = 1}));
  EXPECT_TRUE(is_refused({.lokr_factor = 8}));
  EXPECT_FALSE(is_refused({.kind = kLokr, .lokr_factor = 8, .lokr_decompose_both = true}));
  EXPECT_TRUE(is_refused({.metadata = {"author"}}));
  EXPECT_TRUE(is_refused({.metadata = {"auther=A"}}));
  EXPECT_FALSE(is_refused({.metadata = {"author=A", "title=B = C"}}));
  EXPECT_TRUE(is_refused({.training_comment = "c", .no_metadata = true}));
}

TEST(LoraOptions, EachOfTheBaseWeightsHasAMultiplier) {
  EXPECT_EQ(base_multipliers({.base_weights = {"a", "b"}, .base_weights_multiplier = {"0.5"}}),
            (std::vector<double>{0.5, 1}));
  EXPECT_TRUE(is_refused({.base_weights = {"a"}, .base_weights_multiplier = {"1", "2"}}));
  EXPECT_TRUE(is_refused({.base_weights = {"a"}, .base_weights_multiplier = {"half"}}));
}

}  // namespace
}  // namespace millrace
