#include "adapters/layer_patterns.h"

#include <gtest/gtest.h>

#include "adapters/layer_numbers.h"
#include "base/error.h"

namespace millrace {
namespace {

using Names = std::vector<std::string>;

TEST(LayerPatterns, ChooseLayersInTheModelsOrder) {
  const std::vector<std::string> names = {"in", "blocks.0.qkv", "blocks.0.mlp.0", "blocks.10.qkv"};
  EXPECT_EQ(matching_layers(names, {"blocks.*.qkv"}, "lora.targets"), (Names{"blocks.0.qkv", "blocks.10.qkv"}));
  EXPECT_EQ(matching_layers(names, {"*.mlp.?", "in", "blocks.0.*"}, "lora.targets"),
            (Names{"in", "blocks.0.qkv", "blocks.0.mlp.0"}));
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

// The message of the ConfigError that the action throws.
template <typename Action>
std::string complaint(const Action& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(LayerPatterns, BracesHoldNumbersOfBlocks) {
  const Names names = {"blocks.0.qkv", "blocks.1.qkv", "blocks.8.mlp.0", "blocks.9.mlp.2", "blocks.10.qkv"};
  EXPECT_EQ(matching_layers(names, {"blocks.{0,8-9}.*"}, "lora.targets"),
            (Names{"blocks.0.qkv", "blocks.8.mlp.0", "blocks.9.mlp.2"}));
  EXPECT_EQ(matching_layers(names, {"blocks.{ 8 - 12 }.mlp.{0}"}, "lora.targets"), (Names{"blocks.8.mlp.0"}));
  for (const char* text : {"blocks.{}.*", "blocks.{1.*", "blocks.1}.*", "blocks.{a}.*", "blocks.{3-1}.*",
                           "blocks.{1-2-3}.*", "blocks.{0-99999}.*", "{0-999}{0-999}"}) {
    EXPECT_NE(complaint([&] { LayerPattern(text, "lora.targets"); }).find("[lora.targets] expected whole numbers"),
              std::string::npos)
        << text;
  }
}

TEST(LayerPatterns, RegularExpressionsAreSearchedFor) {
  const Names names = {"double_blocks.0.img_attn.qkv", "double_blocks.11.txt_mlp.0", "single_blocks.1.linear1"};
  EXPECT_EQ(matching_layers(names, {"re:_(attn|mlp)"}, "lora.targets"), (Names{names[0], names[1]}));
  EXPECT_EQ(matching_layers(names, {"re:^double_blocks\\.\\d\\."}, "lora.targets"), (Names{names[0]}));
  EXPECT_EQ(matching_layers(names, {"re:1$"}, "lora.targets"), (Names{names[2]}));
  EXPECT_EQ(complaint([&] { matching_layers(names, {"re:^triple"}, "lora.targets"); }).substr(0, 15),
            "[lora.targets] ");
  const std::string broken = complaint([&] { LayerPattern("re:(", "lora.rank_patterns"); });
  EXPECT_EQ(broken.find("[lora.rank_patterns] expected a regular expression after re:, got \"(\""), 0) << broken;
}

TEST(LayerPatterns, AWordIsAName) {
  EXPECT_TRUE(is_layer_name("q_proj"));
  for (const char* text : {"re:q_proj", "q_*", "q_?", "q_[ab]", "q_{1}"}) EXPECT_FALSE(is_layer_name(text)) << text;
}

TEST(LayerNumbers, TheFirstPatternThatFitsGivesTheNumber) {
  const LayerNumbers numbers({"double_blocks.*.img_mod.*=4", "re:^double_(?=blocks)=0", "*=2.5"}, "lora.lr_patterns");
  EXPECT_EQ(numbers.of("double_blocks.3.img_mod.lin", 16), 4);
  EXPECT_EQ(numbers.of("double_blocks.3.img_attn.qkv", 16), 0);
  EXPECT_EQ(numbers.of("single_blocks.0.linear1", 16), 2.5);
  EXPECT_EQ(LayerNumbers({}, "lora.lr_patterns").of("single_blocks.0.linear1", 16), 16);
  for (const char* text : {"double_blocks.*", "=4", "a=x", "a=-1", "a=", "a=inf", "a=nan", "re:(=4"}) {
    EXPECT_THROW(LayerNumbers({text}, "lora.lr_patterns"), ConfigError) << text;
  }
}

TEST(LayerNumbers, APatternThatDecidesAboutNoLayerIsNamed) {
  const Names names = {"a.qkv", "a.mlp", "b.qkv"};
  LayerNumbers({"a.qkv=1", "a.*=2", "*=3"}, "lora.lr_patterns").check(names);
  EXPECT_EQ(complaint([&] { LayerNumbers({"c.*=1"}, "lora.lr_patterns").check(names, " with an adapter"); }),
            "[lora.lr_patterns] expected the name of a linear layer or a pattern of such names, got \"c.*\", which "
            "matches none with an adapter (try \"a.qkv\")");
  EXPECT_EQ(
      complaint([&] {
        LayerNumbers({"a.*=2", "a.qkv=1"}, "lora.lr_patterns").check(names);
      }),
      "[lora.lr_patterns] expected patterns that give some layer its number, got \"a.qkv\", whose layers all have "
      "theirs from a pattern before it (try it first)");
}

}  // namespace
}  // namespace millrace
