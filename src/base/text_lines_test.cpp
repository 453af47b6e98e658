#include "base/text_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace {
namespace {

using namespace std::string_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> numbered(const std::string& content, bool comments = false) {
  std::vector<std::string> shown;
  for (const TextLine& line : parse_text_lines(content, "list.txt", {.comments = comments})) {
    shown.push_back(std::to_string(line.number) + ":" + line.text);
  }
  return shown;
}

TEST(TextLines, AreTheSameHoweverAnEditorSavedThem) {
  const auto expected = ElementsAre("1:red heart", "3:b");
  for (const std::string& content : {
           "red heart\n\nb\n"s, "red heart\n\nb"s, "red heart\r\n\r\nb\r\n"s, "\xEF\xBB\xBFred heart\r\n\r\nb"s,
           "red heart\r\rb\r"s,
           "  red heart\t\n \t \n\xEF\xBB\xBF b \n\n\n"s,  // two files, one appended to the other
       }) {
    EXPECT_THAT(numbered(content), expected) << content;
  }
  EXPECT_TRUE(numbered("").empty());
  EXPECT_TRUE(numbered("\xEF\xBB\xBF").empty());
  EXPECT_TRUE(numbered("\n \r\n").empty());
}

TEST(TextLines, AreTextWhateverTheyLookLike) {
  EXPECT_THAT(numbered("# 1\n-x\n[a, b]\n--steps=4\n\"q\"\n{}\n"),
              ElementsAre("1:# 1", "2:-x", "3:[a, b]", "4:--steps=4", "5:\"q\"", "6:{}"));
  EXPECT_THAT(numbered("# 1\n -x\n  # y\nz # y\n", /*comments=*/true), ElementsAre("2:-x", "4:z # y"));
}

TEST(TextLines, ThatAreNoTextAreRefusedWithFileAndLine) {
  const struct {
    std::string content, message;
  } cases[] = {
      {"a red heart\ncaf\xE9\n", "[list.txt:2] expected UTF-8, got the byte 0xE9 in position 4"},
      {"a\r\nb\r\n\xC3\r\n", "[list.txt:3] expected UTF-8, got the byte 0xC3 in position 1"},
      {"\xED\xA0\x80", "[list.txt:1] expected UTF-8, got the byte 0xED"},  // a surrogate
      {"\xC0\x80", "[list.txt:1] expected UTF-8, got the byte 0xC0"},      // an overlong zero
      {"a\nb\0c\n"s, "[list.txt:2] expected text, got a zero byte"},
      {"a\0\r\0\n\0"s, "[list.txt:1] expected text, got a zero byte (if this is UTF-16"},
      {"\xFF\xFE"
       "a\0"s,
       "[list.txt] expected UTF-8, got UTF-16"},
      {"\xFE\xFF\0a"s, "[list.txt] expected UTF-8, got UTF-16"},
  };
  for (const auto& [content, message] : cases) {
    try {
      parse_text_lines(content, "list.txt");
      ADD_FAILURE() << "expected to be refused: " << message;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  }
  EXPECT_THROW(parse_text_lines("\xFF", "list.txt", {.code = ExitCode::kConfig}), ConfigError);
}

TEST(TextLines, OfAFileAreLimited) {
  EXPECT_THROW(read_text_lines("/dev/zero", {.max_bytes = 1 << 20}), StorageError);
  EXPECT_THROW(read_text_lines("/nowhere/list.txt"), StorageError);
  EXPECT_TRUE(read_text_lines("/dev/null").empty());
}

}  // namespace
}  // namespace millrace
