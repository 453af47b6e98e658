#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "data/test_shards.h"
#include "prepare/emoji/emoji_dataset.h"
#include "prepare/emoji/emoji_list.h"
#include "prepare/emoji/utf8.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

const std::map<char32_t, std::string> kNames = {
    {0x1F34E, "red apple"}, {0x2764, "red heart"}, {0x1F3FB, "light skin tone"}};

TEST(EmojiList, TakesEmojiCodePointsAndCaptions) {
  const auto entries = parse_emoji_list("# fruit\n\n\xF0\x9F\x8D\x8E\nU+2764 my heart\n", kNames, "list.txt");
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].code_point, 0x1F34Eu);
  EXPECT_EQ(entries[0].caption, "red apple");
  EXPECT_EQ(entries[1].code_point, 0x2764u);
  EXPECT_EQ(entries[1].caption, "my heart");
  // With the variation selector that keyboards add.
  EXPECT_EQ(parse_emoji_list("\xE2\x9D\xA4\xEF\xB8\x8F x", kNames, "l")[0].code_point, 0x2764u);
}

TEST(EmojiList, NamesTheLineThatIsWrong) {
  const auto message_of = [](const char* text) -> std::string {
    try {
      parse_emoji_list(text, kNames, "list.txt");
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message_of("\napple\n"), HasSubstr("[list.txt:2] expected an emoji"));
  EXPECT_THAT(message_of("U+1F34E\nU+1F34E\n"), HasSubstr("[list.txt:2] expected each emoji once"));
  EXPECT_THAT(message_of("U+1F34F\n"), HasSubstr("expected an emoji with a name"));
  EXPECT_THAT(message_of("U+XYZ a\n"), HasSubstr("got \"U+XYZ\""));
}

TEST(EmojiList, TheWellKnownOnesHaveDistinctCaptions) {
  const auto entries = parse_emoji_list(kWellKnownEmoji, {}, "well known");
  std::set<std::string> captions;
  for (const EmojiEntry& entry : entries) captions.insert(entry.caption);
  EXPECT_GE(entries.size(), 200u);
  EXPECT_EQ(captions.size(), entries.size());
}

TEST(EmojiList, FiltersByWholeWords) {
  const auto kept =
      filter_emoji({{1, "red heart"}, {2, "smiling face with heart-eyes"}, {3, "hearty meal"}}, "Heart,cat");
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[1].code_point, 2u);
}

TEST(Utf8, GoesThereAndBack) {
  for (const char32_t code : {U'a', U'\u00FC', U'\u2764', U'\U0001F34E'}) {
    EXPECT_EQ(decode_utf8(encode_utf8(code)), std::u32string(1, code));
  }
  EXPECT_EQ(decode_utf8("\xFF"), U"\uFFFD");
}

TEST(EmojiDataset, ColoursAreNamesOrHex) {
  EXPECT_EQ(parse_colour("white"), (std::array<uint8_t, 3>{255, 255, 255}));
  EXPECT_EQ(parse_colour("#10a0FF"), (std::array<uint8_t, 3>{16, 160, 255}));
  for (const char* text : {"whit", "#12345", "#12345g", "#1234567", ""}) EXPECT_THROW(parse_colour(text), ConfigError);
}

TEST(EmojiDataset, MissingFilesNameTheirPackage) {
  const TestFolder folder;
  EmojiDatasetOptions options;
  options.output = folder / "out";
  options.annotations = folder / "none.xml";
  try {
    write_emoji_dataset(options);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("unicode-cldr-core"));
  }
  options.annotations = folder / "en.xml";
  write_file_atomically(options.annotations, "<annotation cp=\"\xF0\x9F\x8D\x8E\" type=\"tts\">red apple</annotation>");
  options.font = folder / "none.ttf";
  try {
    write_emoji_dataset(options);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("fonts-noto-color-emoji"));
  }
  write_file_atomically(options.font, "no font");
  EXPECT_THROW(write_emoji_dataset(options), DataError);
}

TEST(EmojiStyle, DuotoneGoesFromDarkBlueToYellowByBrightness) {
  using Colour = std::array<uint8_t, 3>;
  EXPECT_EQ(in_style(Colour{0, 0, 0}, EmojiStyle::kDuotone), (Colour{28, 20, 100}));
  EXPECT_EQ(in_style(Colour{255, 255, 255}, EmojiStyle::kDuotone), (Colour{255, 209, 102}));
  const Colour green = in_style(Colour{0, 255, 0}, EmojiStyle::kDuotone);
  const Colour blue = in_style(Colour{0, 0, 255}, EmojiStyle::kDuotone);
  EXPECT_GT(green[0], blue[0]) << "green is brighter";
  EXPECT_EQ(in_style(Colour{1, 2, 3}, EmojiStyle::kPlain), (Colour{1, 2, 3}));
}

TEST(EmojiStyle, OutlinesAreDarkWhereColoursChange) {
  Image halves;
  halves.reshape(16, 4, 3);
  for (int y = 0; y < 4; ++y) {
    for (int x = 0; x < 16; ++x) std::fill_n(halves.row(y) + x * 3, 3, x < 8 ? 255 : 0);
  }
  const Image lines = in_style(halves, EmojiStyle::kOutline);
  for (const int x : {0, 3, 12, 15}) EXPECT_EQ(lines.row(2)[x * 3], 255) << x;
  for (const int x : {7, 8}) EXPECT_EQ(lines.row(2)[x * 3], 20) << x;
}

TEST(EmojiStyle, IsOneOfThree) {
  EXPECT_EQ(parse_emoji_style("outline"), EmojiStyle::kOutline);
  EXPECT_THROW(parse_emoji_style("sepia"), ConfigError);
}

}  // namespace
}  // namespace millrace
