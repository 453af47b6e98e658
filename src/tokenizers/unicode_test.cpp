#include "tokenizers/unicode.h"

#include <gtest/gtest.h>

#include <string>

namespace millrace::unicode {
namespace {

TEST(Unicode, NfcComposesOrdersMarksAndJoinsHangul) {
  EXPECT_EQ(to_nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(to_nfc("\u00e9"), "\u00e9");
  EXPECT_EQ(to_nfc("o\u0304\u0328"), "\u01ed");       // ogonek before macron, then both compose
  EXPECT_EQ(to_nfc("\u212b"), "\u00c5");              // a singleton
  EXPECT_EQ(to_nfc("\u0958"), "\u0915\u093c");        // excluded from composition
  EXPECT_EQ(to_nfc("\u1112\u1161\u11ab"), "\ud55c");  // L V T
  EXPECT_EQ(to_nfc("a\u0315\u0300\u05ae\u0300b"), "\u00e0\u05ae\u0300\u0315b");  // NormalizationTest.txt
  EXPECT_EQ(to_nfc(""), "");
}

TEST(Unicode, LowerCaseLooksAtNoContext) {
  EXPECT_EQ(to_lowercase("ABC ÀÉ ΣΑΣ Ж"), "abc àé σασ ж");
  EXPECT_EQ(to_lowercase("\u0130"), "i\u0307");
  EXPECT_EQ(to_lowercase("\u1e9e"), "\u00df");
  EXPECT_EQ(to_lowercase("\U00010400"), "\U00010428");
}

TEST(Unicode, CategoriesCoverScripts) {
  EXPECT_EQ(category('a'), Category::kLowercase);
  EXPECT_EQ(category('A'), Category::kUppercase);
  EXPECT_EQ(category(0x1C5), Category::kTitlecase);
  EXPECT_EQ(category(0x2B0), Category::kModifierLetter);
  EXPECT_EQ(category(0x301), Category::kMark);
  EXPECT_EQ(category(0x4E2D), Category::kOtherLetter);
  EXPECT_EQ(category(0x0665), Category::kNumber);
  EXPECT_EQ(category(0xBD), Category::kNumber);
  EXPECT_EQ(category(0x3000), Category::kSpace);
  EXPECT_EQ(category(0x200B), Category::kOther);
  EXPECT_EQ(category(0x10FFFF), Category::kOther);
}

TEST(Unicode, GraphemesHoldMarksFlagsAndFamilies) {
  const auto first = [](const std::string& text) { return text.substr(0, grapheme_length(text, 0)); };
  EXPECT_EQ(first("ab"), "a");
  EXPECT_EQ(first("e\u0301\u0323x"), "e\u0301\u0323");
  EXPECT_EQ(first("\r\nx"), "\r\n");
  EXPECT_EQ(first("\n\u0301"), "\n");
  EXPECT_EQ(first("\U0001F1E9\U0001F1EA\U0001F1EB\U0001F1F7"), "\U0001F1E9\U0001F1EA");
  EXPECT_EQ(first("\U0001F469\u200d\U0001F467x"), "\U0001F469\u200d\U0001F467");
  EXPECT_EQ(first("\u1100\u1161\u11a8\u1100"), "\u1100\u1161\u11a8");
}

TEST(Unicode, IllFormedBytesAreFoundAndReplaced) {
  EXPECT_EQ(valid_utf8_prefix("ok\xff"), 2u);
  EXPECT_EQ(valid_utf8_prefix("\xc3\xa9"), 2u);
  EXPECT_EQ(replace_invalid_utf8("a\xff"
                                 "b\xe4\xb8"),
            "a\uFFFDb\uFFFD");
  EXPECT_EQ(replace_invalid_utf8("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(replace_invalid_utf8("\xf0\x9f\x98\x80"), "\U0001F600");
}

}  // namespace
}  // namespace millrace::unicode
