#include "base/regular_expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace millrace {
namespace {

bool found(const std::string& pattern, const std::string& text) {
  return RegularExpression(pattern).found_in(text);
}

TEST(RegularExpression, SearchesAndMatchesAsPythonsRe) {
  EXPECT_TRUE(found("_1[0-9]_", "single_blocks_12_linear1"));
  EXPECT_FALSE(found("^blocks", "single_blocks_12_linear1"));
  EXPECT_TRUE(found("(?<=single_)blocks", "single_blocks_12"));
  EXPECT_FALSE(found("(?<!single_)blocks", "single_blocks_12"));
  EXPECT_TRUE(found("(?i)ATTN", "img_attn"));
  EXPECT_TRUE(found("(?P<kind>q|k)_proj", "layers.0.k_proj"));
  EXPECT_TRUE(RegularExpression("q|q_proj").matches("q_proj"));
  EXPECT_FALSE(RegularExpression("q_proj").matches("layers.0.q_proj"));
  EXPECT_TRUE(found("", "anything"));
}

TEST(RegularExpression, SaysWhatIsWrong) {
  const auto problem = [](const std::string& pattern) -> std::string {
    try {
      (void)RegularExpression(pattern);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(problem("a(b"), testing::HasSubstr("parenthesis at 3"));
  EXPECT_NE(problem("[z-a]"), "");
  EXPECT_EQ(problem("a.b"), "");
}

TEST(RegularExpression, RefusesOneThatTakesForEver) {
  EXPECT_THROW(found("(a+)+$", std::string(64, 'a') + "b"), ConfigError);
}

}  // namespace
}  // namespace millrace
