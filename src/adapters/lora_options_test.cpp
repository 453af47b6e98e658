#include "adapters/lora_options.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace millrace {
namespace {

TEST(LoraOptions, AlphaOverRankIsTheScale) {
  EXPECT_EQ(scale_of_rank({.rank = 16, .alpha = 8}, 4), 2) << "alpha stays, as the rank changes";
  EXPECT_EQ(scale_of_rank({.rank = 16}, 4), 1) << "without an alpha it is the rank";
  EXPECT_EQ(scale_of_rank({.alpha = 8, .rank_stabilised = true}, 16), 2);
}

TEST(LoraOptions, LayersMayHaveAnAlphaOfTheirOwn) {
  const LoraScales scales({.alpha = 8, .alpha_patterns = {"*.img_mod.*=2", "re:^single=32"}});
  EXPECT_EQ(scales.of("double_blocks.0.img_mod.lin", 4), 0.5);
  EXPECT_EQ(scales.of("single_blocks.0.linear1", 4), 8);
  EXPECT_EQ(scales.of("double_blocks.0.txt_mod.lin", 4), 2);
  EXPECT_EQ(LoraScales({.rank_stabilised = true, .alpha_patterns = {"a=6"}}).of("a", 4), 3);
  EXPECT_EQ(LoraScales({.alpha_patterns = {"a=6"}}).alpha_of("b", 4), 4);
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
  EXPECT_FALSE(is_refused({.rank_patterns = {"a=0"}, .alpha_patterns = {"a=0.5"}, .lr_patterns = {"a=2.5"}}));
  EXPECT_TRUE(is_refused({.alpha_patterns = {"a=0"}}));
  EXPECT_TRUE(is_refused({.rank_patterns = {"re:(=4"}}));
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
