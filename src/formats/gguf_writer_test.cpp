#include "formats/gguf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "formats/dequantise.h"
#include "formats/gguf_export.h"
#include "formats/gguf_tokenizer.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

// The number that half-precision bits stand for.
double from_half(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double size = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return bits & 0x8000 ? -size : size;
}

TEST(ToHalf, TakesTheNearestAndOfTwoTheEvenOne) {
  for (uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const auto low = static_cast<uint16_t>(bits);
    const double value = from_half(low), next = bits == 0x7BFF ? 65536 : from_half(static_cast<uint16_t>(bits + 1));
    ASSERT_EQ(to_half(static_cast<float>(value)), low);
    ASSERT_EQ(to_half(static_cast<float>(-value)), low | 0x8000);
    const auto middle = static_cast<float>((value + next) / 2);
    ASSERT_EQ(to_half(middle), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(to_half(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(to_half(std::nextafter(middle, 1e6f)), bits + 1);
  }
  EXPECT_EQ(to_half(INFINITY), 0x7C00);
  EXPECT_GT(to_half(NAN) & 0x7FFF, 0x7C00);
}

class GgufWriter : public testing::Test {
 protected:
  std::filesystem::path path_ = std::filesystem::path(testing::TempDir()) / "written.gguf";
  void TearDown() override { std::filesystem::remove(path_); }
};

TEST_F(GgufWriter, WhatIsWrittenIsRead) {
  GgufKeys keys;
  keys.add("general.architecture", std::string_view("test"));
  keys.add("count", uint32_t{7});
  keys.add("eps", 1e-5f);
  keys.add("yes", true);
  keys.add("words", std::vector<std::string>{"a", "bc"});
  keys.add("numbers", std::vector<int32_t>{-1, 3});
  std::vector<float> values(96);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i)) * 3;
  std::fill(values.begin() + 32, values.begin() + 64, 0.0f);  // a block without a scale
  const std::vector<GgufTensor> tensors = {{"plain", {3, 32}, GgufStorage::kF32},
                                           {"half", {96}, GgufStorage::kF16},
                                           {"blocks", {3, 32}, GgufStorage::kQ8_0}};
  write_gguf(path_, keys, tensors, [&](size_t) { return std::span<const float>(values); });

  const GgufFile file(path_);
  EXPECT_EQ(file.metadata().integer("count"), 7);
  EXPECT_EQ(file.metadata().number("eps"), 1e-5);
  EXPECT_EQ(gguf_boolean(file.metadata(), "yes", "written.gguf"), true);
  EXPECT_THAT(*file.metadata().strings("words"), testing::ElementsAre("a", "bc"));
  EXPECT_THAT(*gguf_integers(file.metadata(), "numbers", "written.gguf"), testing::ElementsAre(-1, 3));
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_THAT(file.tensors()[0].shape, testing::ElementsAre(3, 32));
  EXPECT_EQ(std::memcmp(file.tensors()[0].bytes.data(), values.data(), sizeof(float) * values.size()), 0);
  const TensorView& blocks = file.tensors()[2];
  ASSERT_EQ(blocks.block_format, BlockFormat::kQ8_0);
  std::vector<float> read(values.size());
  dequantise_blocks(blocks.block_format, blocks.bytes, read);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(read[i], values[i], 3.0 / 127 / 2 + 3e-3) << i;
  EXPECT_EQ(read[40], 0);
}

TEST_F(GgufWriter, ATokenizerComesBack) {
  const nlohmann::json config = {
      {"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}}}, {"chat_template", "{{ x }}"}};
  nlohmann::json tokenizer = {
      {"added_tokens",
       {{{"id", 3}, {"content", "<s>"}, {"special", true}}, {{"id", 4}, {"content", "</s>"}, {"special", true}}}},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"model",
       {{"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}},
        {"merges", nlohmann::json::array({nlohmann::json::array({"a", "b"})})}}}};
  GgufKeys keys;
  add_gguf_tokenizer(keys, tokenizer, config, "", 6);
  write_gguf(path_, keys, {}, nullptr);
  const auto read = gguf_tokenizer(GgufFile(path_).metadata(), "written.gguf");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->config, (nlohmann::json{{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"chat_template", "{{ x }}"}}));
  EXPECT_EQ(read->tokenizer["model"]["vocab"]["ab"], 2);
  EXPECT_EQ(read->tokenizer["model"]["vocab"]["[PAD5]"], 5);
  EXPECT_EQ(read->tokenizer["model"]["merges"], nlohmann::json::array({"a b"}));
  EXPECT_EQ(read->tokenizer["added_tokens"].size(), 2u);
  EXPECT_THROW(add_gguf_tokenizer(keys, tokenizer, config, "", 3), ModelError);
  tokenizer["pre_tokenizer"]["type"] = "Whitespace";
  EXPECT_THROW(add_gguf_tokenizer(keys, tokenizer, config, "", 6), ModelError);
}

TEST(GgufNames, AreLlamaCppsAndNoOthers) {
  EXPECT_EQ(gguf_name("model.layers.12.self_attn.q_proj.weight"), "blk.12.attn_q.weight");
  EXPECT_EQ(gguf_name("lm_head.weight"), "output.weight");
  EXPECT_THROW(gguf_name("model.layers.0.self_attn.q_proj.bias"), ModelError);
  GgufKeys keys;
  nlohmann::json sizes = {{"model_type", "qwen3"}};
  EXPECT_THROW(add_gguf_sizes(keys, sizes, "name", GgufStorage::kF16), ModelError);
}

}  // namespace
}  // namespace millrace
