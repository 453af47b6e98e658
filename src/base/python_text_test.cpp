#include "base/python_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace {
namespace {

using testing::ElementsAre;

TEST(PythonText, StripsEveryWhiteSpaceOfUnicode) {
  EXPECT_EQ(python_strip(" \t\r\n\x1C\xC2\xA0\xE3\x80\x80 a b \xE2\x80\x83\v\f"), "a b");
  EXPECT_EQ(python_strip("\xE2\x80\x8B"
                         "a"),
            "\xE2\x80\x8B"
            "a");  // zero width: no white space
  EXPECT_EQ(python_strip("  "), "");
  EXPECT_EQ(python_strip(""), "");
}

TEST(PythonText, EndsLinesWhereTextFilesDo) {
  EXPECT_THAT(python_lines("a\nb\r\nc\rd\n\n"), ElementsAre("a", "b", "c", "d", ""));
  EXPECT_THAT(python_lines("a\x0C\xE2\x80\xA8"
                           "b"),
              ElementsAre("a\x0C\xE2\x80\xA8"
                          "b"));
  EXPECT_THAT(python_lines(""), ElementsAre());
}

TEST(PythonText, SplitsAndReplacesByTexts) {
  EXPECT_THAT(python_split("a;;b;;", ";;"), ElementsAre("a", "b", ""));
  EXPECT_THAT(python_split("", ","), ElementsAre(""));
  EXPECT_EQ(replace_all("{{{a}}", "{{", "<"), "<{a}}");
}

}  // namespace
}  // namespace millrace
