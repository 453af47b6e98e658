#include "prepare/sentences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

SentenceList animals(int count) {
  std::string text = "# comment\n[words]\n";
  for (int i = 0; i < count; ++i) text += str("word", i, " = <", i, ">\n");
  text +=
      "[patterns]\nThe {} likes the {}.\nLook at that {}!\nHow is the {}? => The {} is fine.\nHello! => Hi!\n"
      "[held out patterns]\nA {} sees a {}.\n";
  return parse_sentence_list(text, "list.txt");
}

std::pair<std::string, std::string> turns(const std::string& row) {
  const auto messages = nlohmann::json::parse(row)["messages"];
  EXPECT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0]["role"], "user");
  EXPECT_EQ(messages[1]["role"], "assistant");
  return {messages[0]["content"], messages[1]["content"]};
}

TEST(Sentences, HeldOutPairsAndPatternsAreNotTrained) {
  const SentenceRows rows = make_sentence_rows(animals(20), {.count = 200, .held_out = 30}, "list.txt");
  ASSERT_EQ(rows.train.size(), 200u);
  ASSERT_EQ(rows.held_out.size(), 30u);
  std::set<std::string> trained, held;
  for (const std::string& row : rows.train) {
    const auto [question, answer] = turns(row);
    EXPECT_THAT(question, testing::Not(HasSubstr("sees")));
    if (question == "Hello!") {
      EXPECT_EQ(answer, "Hi!");
    }
    if (question.find("fine") != std::string::npos) {
      EXPECT_THAT(answer, HasSubstr("> is fine."));
    }
    if (question.find("likes") != std::string::npos) trained.insert(answer);
  }
  for (const std::string& row : rows.held_out) {
    const auto [question, answer] = turns(row);
    EXPECT_THAT(question, HasSubstr(" sees a "));
    EXPECT_FALSE(trained.contains(answer)) << answer;
    held.insert(answer);
  }
  EXPECT_EQ(trained.size(), 50u);
  EXPECT_EQ(held.size(), 30u);
}

TEST(Sentences, ASeedGivesTheSameRowsAgain) {
  const auto rows = [](uint64_t seed) {
    return make_sentence_rows(animals(20), {.count = 20, .held_out = 5, .seed = seed}, "list.txt").train;
  };
  EXPECT_EQ(rows(1), rows(1));
  EXPECT_NE(rows(1), rows(2));
}

TEST(Sentences, MistakesAreNamedWithTheirLine) {
  const auto reading = [](const std::string& text) { return [text] { parse_sentence_list(text, "list.txt"); }; };
  EXPECT_THAT(reading("cat = c\n"), ThrowsMessage<DataError>(HasSubstr("list.txt:1] expected a section")));
  EXPECT_THAT(reading("[words]\ncat\n"), ThrowsMessage<DataError>(HasSubstr("list.txt:2] expected a word =")));
  EXPECT_THAT(reading("[word]\n"), ThrowsMessage<DataError>(HasSubstr("got \"[word]\"")));
  EXPECT_THAT(reading("[patterns]\n{} {} {}\n"), ThrowsMessage<DataError>(HasSubstr("at most two blanks")));
  EXPECT_THAT(reading("[patterns]\nHi => {}\n"), ThrowsMessage<DataError>(HasSubstr("at most two blanks")));
  EXPECT_THAT([] { make_sentence_rows(animals(5), {.count = 100, .held_out = 1}, "list.txt"); },
              ThrowsMessage<DataError>(HasSubstr("and 20 pairs")));
}

}  // namespace
}  // namespace millrace
