#include "tokenizers/byte_level_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "tokenizers/byte_level_test_support.h"

namespace millrace {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

// "ab", "abc" and the 256 bytes in base64; special tokens follow from 258.
std::string small_tiktoken() {
  static const char* alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  int rank = 0;
  for (const uint8_t byte : byte_order()) {
    text += alphabet[byte >> 2];
    text += alphabet[(byte & 3) << 4];
    text += "== " + std::to_string(rank++) + "\n";
  }
  return text + "YWI= 256\nYWJj 257\n";
}

int32_t id_of(char c) {
  const auto& order = byte_order();
  return static_cast<int32_t>(std::find(order.begin(), order.end(), static_cast<uint8_t>(c)) - order.begin());
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ModelError& error) {
    return error.what();
  }
  return "nothing thrown";
}

TEST(ByteLevelTokenizer, BothFormsGiveTheSameIds) {
  const VocabularyFolder folder;
  const auto a = load_tokenizer(folder.write("tokenizer.json", small_tokenizer_json().dump()));
  const auto b = load_tokenizer(folder.write("tokenizer.model", small_tiktoken()));
  for (const char* text : {"abc abcab", "a", "", "cab\n\nbc", "caf\xC3\xA9 \xF0\x9F\x98\x80"}) {
    EXPECT_EQ(a->encode(text), b->encode(text)) << text;
    EXPECT_EQ(a->decode(a->encode(text)), text);
  }
  EXPECT_THAT(a->encode("abc abcab"), ElementsAre(257, id_of(' '), 257, 256));
}

TEST(ByteLevelTokenizer, AddedTokensAreFoundInTextOfTokenizerJsonAlone) {
  const VocabularyFolder folder;
  const auto a = load_tokenizer(folder.write("tokenizer.json", small_tokenizer_json().dump()));
  const auto b = load_tokenizer(folder.write("tokenizer.model", small_tiktoken()));
  EXPECT_THAT(a->encode("ab<|begin_of_text|>"), ElementsAre(256, 258));
  EXPECT_EQ(b->encode("<|begin_of_text|>").size(), 17u);
  EXPECT_EQ(b->special_tokens().bos, 258);
  EXPECT_EQ(b->special_tokens().eos, 259);
  EXPECT_EQ(b->vocabulary_size(), 258 + 257);
  EXPECT_EQ(a->decode(std::vector<int32_t>{258, 256, 9999, -1}), "ab");
  const auto& llama = dynamic_cast<const ByteLevelTokenizer&>(*b);
  EXPECT_EQ(llama.added_token("<|eot_id|>"), 258 + 9);
  EXPECT_THAT(llama.encode_with_tokens("ab<|eot_id|>"), ElementsAre(256, 258 + 9));
}

TEST(ByteLevelTokenizer, TemplateProcessingPutsTokensAround) {
  json file = small_tokenizer_json();
  file["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<|begin_of_text|>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}}}}}}};
  const VocabularyFolder folder;
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", file.dump()));
  EXPECT_THAT(tokenizer->encode("ab"), ElementsAre(258, 256));
  EXPECT_THAT(tokenizer->encode_truncated("ab ab", 2), ElementsAre(258, 256));
}

TEST(ByteLevelTokenizer, RefusesPartsThatItDoesNotKnow) {
  const VocabularyFolder folder;
  const std::vector<std::pair<std::string, json>> changes = {
      {"/normalizer", {{"type", "Lowercase"}}},
      {"/pre_tokenizer", {{"type", "Whitespace"}}},
      {"/pre_tokenizer", nullptr},
      {"/pre_tokenizer/add_prefix_space", true},
      {"/post_processor", {{"type", "RobertaProcessing"}}},
      {"/model/byte_fallback", true},
      {"/model/dropout", 0.1},
      {"/model/merges", {"a z b"}},
      {"/model/vocab/ab", -3},
      {"/added_tokens/0/single_word", true},
      {"/added_tokens/0/content", 3},
  };
  for (const auto& [place, value] : changes) {
    json file = small_tokenizer_json();
    file[json::json_pointer(place)] = value;
    const auto path = folder.write("tokenizer.json", file.dump());
    EXPECT_THAT(message_of([&] { load_tokenizer(path); }), HasSubstr("tokenizer.json] expected")) << place;
  }
}

TEST(CharacterTokenizer, MergesCharactersAndFallsBackToBytes) {
  const VocabularyFolder folder;
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", small_character_json().dump()));
  // <unk> <s> </s>, the bytes from 3, ▁ a b é ▁a ab ▁ab from 259.
  EXPECT_THAT(tokenizer->encode("ab ab"), ElementsAre(1, 265, 265));
  EXPECT_THAT(tokenizer->encode("  b"), ElementsAre(1, 259, 259, 259, 261));
  EXPECT_THAT(tokenizer->encode("▁a"), ElementsAre(1, 259, 263)) << "a mark in text is a blank";
  EXPECT_THAT(tokenizer->encode("é中"), ElementsAre(1, 259, 262, 3 + 0xE4, 3 + 0xB8, 3 + 0xAD));
  EXPECT_THAT(tokenizer->encode("a</s>a</s>"), ElementsAre(1, 263, 2, 263, 2)) << "a blank behind every token";
  EXPECT_THAT(tokenizer->encode(""), ElementsAre(1));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("  ab 中a")), "  ab 中a");
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{1, 263, 3 + 0xE4, 3 + 0xB8, 260}), "a\uFFFD\uFFFDa");
  EXPECT_EQ(tokenizer->decode_behind(std::vector<int32_t>{263}), " a");
}

TEST(CharacterTokenizer, MetaspacePutsOneBlankBeforeTheText) {
  const VocabularyFolder folder;
  json file = small_character_json();
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", false}};
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", file.dump()));
  EXPECT_THAT(tokenizer->encode("a</s>a"), ElementsAre(1, 263, 2, 260));
  EXPECT_THAT(tokenizer->encode(" a"), ElementsAre(1, 263));
  EXPECT_THAT(tokenizer->encode("</s>a"), ElementsAre(1, 2, 260));
}

TEST(CharacterTokenizer, AddedTokensTakeWhiteSpaceAlong) {
  const VocabularyFolder folder;
  json file = small_character_json();
  file["added_tokens"][2]["lstrip"] = true;
  file["added_tokens"][1]["rstrip"] = true;
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", file.dump()));
  EXPECT_THAT(tokenizer->encode("a \n</s><s>\u3000 b</s> "), ElementsAre(1, 263, 2, 1, 259, 261, 2, 259, 259));
}

TEST(CharacterTokenizer, KnowsWhereIdsBeginInText) {
  const VocabularyFolder folder;
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", small_character_json().dump()));
  std::vector<size_t> begins;
  const std::vector<int32_t> ids =
      dynamic_cast<const ByteLevelTokenizer&>(*tokenizer).encode_with_tokens("ab b</s>bé ab", &begins);
  EXPECT_THAT(ids, ElementsAre(265, 259, 261, 2, 259, 261, 262, 265));
  EXPECT_THAT(begins, ElementsAre(0, 2, 3, 4, 8, 8, 9, 11));
}

// Where tokens reach over blanks, text is not cut there.
TEST(CharacterTokenizer, MergesAcrossBlanksWhereTheVocabularyDoes) {
  const VocabularyFolder folder;
  json file = small_character_json();
  file["model"]["vocab"]["b▁a"] = 266;
  file["model"]["merges"].insert(file["model"]["merges"].begin(), "b ▁a");
  file["model"]["merges"].insert(file["model"]["merges"].begin(), "▁ a");
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", file.dump()));
  EXPECT_THAT(tokenizer->encode("b a"), ElementsAre(1, 259, 266));
}

TEST(CharacterTokenizer, RefusesPartsThatItDoesNotKnow) {
  const VocabularyFolder folder;
  const std::vector<std::pair<std::string, json>> changes = {
      {"/normalizer", {{"type", "NFKC"}}},
      {"/normalizer", nullptr},
      {"/normalizer/normalizers/0/prepend", "_"},
      {"/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "▁"}}},
      {"/pre_tokenizer", {{"type", "Whitespace"}}},
      {"/decoder", nullptr},
      {"/decoder/decoders/3/start", 2},
      {"/model/vocab/a b", 300},
      {"/model/byte_fallback", false},
      {"/added_tokens/0/single_word", true},
  };
  for (const auto& [place, value] : changes) {
    json file = small_character_json();
    file[json::json_pointer(place)] = value;
    const auto path = folder.write("tokenizer.json", file.dump());
    EXPECT_THAT(message_of([&] { load_tokenizer(path); }), HasSubstr("tokenizer.json] expected")) << place;
  }
  json file = small_character_json();
  file["model"]["vocab"].erase("<0x41>");
  const auto path = folder.write("tokenizer.json", file.dump());
  EXPECT_THAT(message_of([&] { load_tokenizer(path); }), HasSubstr("none for <0x41>"));
}

TEST(ByteLevelTokenizer, NamesTheDamagedLineOfATiktokenFile) {
  const VocabularyFolder folder;
  const std::string good = small_tiktoken();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {good + "YWJj\n", "tokenizer.model:259] expected a token in base64"},
      {good + "Y?Jj 258\n", "tokenizer.model:259] expected a token in base64"},
      {good + "YWJk 257\n", "tokenizer.model:259] expected every rank once, got 257"},
      {good + "YWJk 300\n", "tokenizer.model:259] expected a rank below 259, the number of lines, got 300"},
      {good + "\nYWJk 259\n", "expected the ranks 0 to 259 without gaps, got 259 of them"},
      {good + "YWJk 99999999\n", "tokenizer.model:259] expected a rank below"},
      {"YWI= 0\nYWJj 1\n", "expected a token for every single byte"},
  };
  for (const auto& [text, expected] : cases) {
    const auto path = folder.write("tokenizer.model", text);
    EXPECT_THAT(message_of([&] { load_tokenizer(path); }), HasSubstr(expected));
  }
}

// Two ways to cut one token have the token's rank, and the leftmost pair is merged: tiktoken's rule.
TEST(ByteLevelTokenizer, MergesOfOneTokenAreDoneLeftmostFirst) {
  const VocabularyFolder folder;
  // "aa" 258 joins before "aaa" 259, which two pairs of "a" "aa" "a" would make.
  const std::string text = small_tiktoken() + "YWE= 258\nYWFh 259\n";
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.model", text));
  EXPECT_THAT(tokenizer->encode("aaaaa"), ElementsAre(258, 259));
  EXPECT_THAT(tokenizer->encode("aaa"), ElementsAre(259));
}

TEST(ByteLevelTokenizer, LongRunsAreCutAsTorchtuneDoes) {
  const VocabularyFolder folder;
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.model", small_tiktoken()));
  std::string text(25'000, 'x');
  text.back() = 'a';
  const std::vector<int32_t> ids = tokenizer->encode(text + "bc");
  EXPECT_EQ(ids.size(), 25'002u) << "the 25001st character opens a new piece, so that a and bc do not join";
}

TEST(ByteLevelTokenizer, RefusesIllFormedText) {
  const VocabularyFolder folder;
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.model", small_tiktoken()));
  EXPECT_THROW(tokenizer->encode("a\xC3"), DataError);
}

}  // namespace
}  // namespace millrace
