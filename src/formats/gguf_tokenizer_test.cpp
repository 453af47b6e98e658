#include "formats/gguf_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/gguf_test_support.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using testing::HasSubstr;

GgufText vocabulary(const std::string& pre) {
  GgufText text;
  text.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", pre);
  text.strings("tokenizer.ggml.tokens", {"<|end|>", "a", "b", "ab"}).strings("tokenizer.ggml.merges", {"a b"});
  text.integers("tokenizer.ggml.token_type", {3, 1, 1, 1});
  return text.number("tokenizer.ggml.eos_token_id", GgufType::kUint32, uint32_t{0});
}

GgufText sentencepiece(const std::vector<float>& scores) {
  GgufText text;
  text.string("tokenizer.ggml.model", "llama");
  text.strings("tokenizer.ggml.tokens", {"<s>", "a", "b", "ab", "ba"}).floats("tokenizer.ggml.scores", scores);
  return text.integers("tokenizer.ggml.token_type", {3, 1, 1, 1, 1});
}

std::optional<GgufTokenizer> tokenizer_in(const GgufText& text) {
  const std::string file = text.file(0);
  return gguf_tokenizer(parse_gguf(as_bytes(file), "w.gguf").metadata, "w.gguf");
}

std::string failure(const GgufText& text) {
  return message_of<ModelError>([&] { tokenizer_in(text); });
}

TEST(GgufTokenizer, IsWhatTokenizerJsonWouldSay) {
  const auto found = tokenizer_in(vocabulary("smollm").string("tokenizer.chat_template", "{{ messages }}"));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->tokenizer["model"]["vocab"]["ab"], 3);
  EXPECT_EQ(found->tokenizer["model"]["merges"], nlohmann::json::array({"a b"}));
  EXPECT_EQ(found->tokenizer["added_tokens"].size(), 1u);
  EXPECT_EQ(found->tokenizer["added_tokens"][0]["content"], "<|end|>");
  EXPECT_EQ(found->tokenizer["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
  EXPECT_TRUE(found->tokenizer["post_processor"].is_null());
  EXPECT_EQ(found->config, (nlohmann::json{{"eos_token", "<|end|>"}, {"chat_template", "{{ messages }}"}}));
}

TEST(GgufTokenizer, ALlamaPutsItsFirstTokenBeforeTheText) {
  const auto found =
      tokenizer_in(vocabulary("llama-bpe").number("tokenizer.ggml.bos_token_id", GgufType::kUint32, uint32_t{0}));
  EXPECT_EQ(found->tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"], "<|end|>");
  EXPECT_EQ(found->tokenizer["model"]["ignore_merges"], true);
}

TEST(GgufTokenizer, SentencePiecesAreMergedByTheirScores) {
  const auto found = tokenizer_in(sentencepiece({0, -8, -9, -2, -1}));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->tokenizer["model"]["merges"], nlohmann::json::parse(R"([["b", "a"], ["a", "b"]])"));
  EXPECT_EQ(found->tokenizer["model"]["byte_fallback"], true);
  EXPECT_EQ(found->tokenizer["normalizer"]["normalizers"].size(), 2u);
}

TEST(GgufTokenizer, OthersAreRefusedByName) {
  EXPECT_FALSE(tokenizer_in(GgufText().string("general.architecture", "flux")));
  EXPECT_THAT(failure(GgufText().string("tokenizer.ggml.model", "llama")), HasSubstr("got \"llama\""));
  EXPECT_THAT(failure(GgufText().string("tokenizer.ggml.model", "t5")), HasSubstr("got \"t5\""));
  EXPECT_THAT(failure(sentencepiece({0, -1})), HasSubstr("scores] expected 5 numbers, one for each token, got 2"));
  EXPECT_THAT(failure(vocabulary("deepseek-llm")), HasSubstr("got \"deepseek-llm\""));
  GgufText few;
  few.string("tokenizer.ggml.model", "gpt2").strings("tokenizer.ggml.tokens", {"a", "b"});
  few.strings("tokenizer.ggml.merges", {}).integers("tokenizer.ggml.token_type", {1});
  EXPECT_THAT(failure(few), HasSubstr("expected 2 numbers, one for each token, got 1"));
  GgufText twice;
  twice.string("tokenizer.ggml.model", "gpt2").strings("tokenizer.ggml.tokens", {"a", "a"});
  EXPECT_THAT(failure(twice.strings("tokenizer.ggml.merges", {})), HasSubstr("got \"a\" as number 1"));
  EXPECT_THAT(failure(vocabulary("smollm").number("tokenizer.ggml.bos_token_id", GgufType::kUint32, uint32_t{9})),
              HasSubstr("bos_token_id] expected a token's number, got 9"));
}

}  // namespace
}  // namespace millrace
