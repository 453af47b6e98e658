#include "tokenizers/split_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kLlama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

std::vector<std::string> pieces(const std::string& expression, const std::string& text, bool between_too = true) {
  std::vector<std::string> all;
  split_by(SplitPattern(expression, "test"), text, between_too,
           [&](std::string_view piece) { all.emplace_back(piece); });
  return all;
}

TEST(SplitPattern, CutsAsLlama3Does) {
  EXPECT_THAT(pieces(kLlama3, "Don't stop: I'LL go"), ElementsAre("Don", "'t", " stop", ":", " I", "'LL", " go"));
  EXPECT_THAT(pieces(kLlama3, "1234567 89"), ElementsAre("123", "456", "7", " ", "89"));
  EXPECT_THAT(pieces(kLlama3, "   leading"), ElementsAre("  ", " leading"));
  EXPECT_THAT(pieces(kLlama3, "a\n\n b\r\n\r\n  c"), ElementsAre("a", "\n\n", " b", "\r\n\r\n", " ", " c"));
  EXPECT_THAT(pieces(kLlama3, "x?!\n\ny  "), ElementsAre("x", "?!\n\n", "y", "  "));
}

TEST(SplitPattern, KnowsUnicode) {
  EXPECT_THAT(pieces(kLlama3, "Привет, мир"), ElementsAre("Привет", ",", " мир"));
  EXPECT_THAT(pieces(kLlama3, "a\u00a0\u3000b"), ElementsAre("a", "\u00a0", "\u3000b"));
  EXPECT_THAT(pieces(kLlama3, "٣٤٥٦"), ElementsAre("٣٤٥", "٦"));
  EXPECT_THAT(pieces(kLlama3, "it'\u017f"), ElementsAre("it", "'\u017f")) << "a long s folds to s";
  EXPECT_THAT(pieces(kLlama3, "x\u180ey"), ElementsAre("x", "\u180ey")) << "no white space since Unicode 6.3";
}

TEST(SplitPattern, KeepsWhatLiesBetweenMatchesOrNot) {
  EXPECT_THAT(pieces("\\p{N}", "a12b"), ElementsAre("a", "1", "2", "b"));
  EXPECT_THAT(pieces("\\p{N}+", "a12b", false), ElementsAre("12"));
}

TEST(SplitPattern, TakesTheFirstAlternativeThatMatches) {
  EXPECT_THAT(pieces("a|ab|b", "ab"), ElementsAre("a", "b"));
  EXPECT_THAT(pieces("'(?:[sd]|ll)|[^']+", "'ll'x"), ElementsAre("'ll", "'", "x"));
  EXPECT_THAT(pieces("[a-c]{2}", "abcab"), ElementsAre("ab", "ca", "b"));
}

TEST(SplitPattern, LongRunsTakeLinearTime) {
  const std::string blanks(200'000, ' ');
  EXPECT_THAT(pieces(kLlama3, blanks), ElementsAre(blanks));
}

TEST(SplitPattern, RefusesWhatItDoesNotKnow) {
  for (const char* expression :
       {"\\p{Lu}", "\\d", "a(b)", "a*?", "a++", "(?=x)", "(?!xy)", "[a", "(?:a", "a{3,2}", "a)", "\\s*(?:a|b)", "[\\S]",
        "(?:a)*", "^a", "(?i:\u00e9)", "[[:alpha:]]", "x{", "\\"}) {
    try {
      SplitPattern(expression, "file");
      ADD_FAILURE() << expression << " was taken";
    } catch (const ModelError& error) {
      EXPECT_THAT(error.what(), HasSubstr("[file]"));
      EXPECT_THAT(error.what(), HasSubstr(expression));
    }
  }
}

}  // namespace
}  // namespace millrace
