#include "language/prompt_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "language/row_tokens.h"
#include "language/test_support.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<ChatMessage> talk(const std::string& answer) {
  return {{.role = "system", .parts = {"Be brief."}},
          {.role = "user", .parts = {"How old?"}},
          {.role = "assistant", .parts = {answer}}};
}

TEST(PromptTemplate, PutsWordsAroundTheMessagesOfARole) {
  std::vector<ChatMessage> messages = talk("Ten.");
  add_prompt_words(parse_prompt_template(R"({"user": ["Question: ", "\nAnswer: "], "system": ["", null]})", "p"),
                   messages);
  EXPECT_THAT(messages[0].parts, ElementsAre("Be brief."));
  EXPECT_THAT(messages[1].parts, ElementsAre("Question: ", "How old?", "\nAnswer: "));
  EXPECT_THAT(messages[2].parts, ElementsAre("Ten."));
  add_prompt_words(parse_prompt_template("", "p"), messages);
  EXPECT_THAT(messages[2].parts, ElementsAre("Ten."));
}

TEST(PromptTemplate, KnowsThoseOfTorchtune) {
  std::vector<ChatMessage> messages = talk("Ten.");
  add_prompt_words(parse_prompt_template("question_answer", "p"), messages);
  EXPECT_EQ(messages[1].text(), "Question: How old?\n\nAnswer: ");
  messages = talk("Ten.");
  add_prompt_words(parse_prompt_template("chatml", "p"), messages);
  EXPECT_EQ(messages[0].text(), "<|im_start|>system\nBe brief.<|im_end|>\n");
  EXPECT_EQ(messages[2].text(), "<|im_start|>assistant\nTen.<|im_end|>\n");
  for (const char* name : {"grammar", "summarize"}) {
    messages = talk("Ten.");
    add_prompt_words(parse_prompt_template(name, "p"), messages);
    EXPECT_EQ(messages[1].parts.size(), 3U) << name;
    EXPECT_EQ(messages[2].parts.size(), 1U) << name;
  }
}

TEST(PromptTemplate, LeavesAnAnswerThatIsStillToComeOpen) {
  const std::string text = R"({"assistant": ["A:", "."]})";
  PromptTemplate words = parse_prompt_template(text, "p");
  std::vector<ChatMessage> messages = talk("");
  add_prompt_words(words, messages);
  EXPECT_EQ(messages[2].text(), "A:.");  // as torchtune does with words of one's own
  words.opens_empty_answers = true;
  messages = talk("");
  add_prompt_words(words, messages);
  EXPECT_EQ(messages[2].text(), "A:");
  messages = talk("");
  add_prompt_words(parse_prompt_template("chatml", "p"), messages);
  EXPECT_EQ(messages[2].text(), "<|im_start|>assistant\n");
}

TEST(PromptTemplate, RefusesOthersByName) {
  const auto refusal = [](const std::string& text) {
    return message_of<ConfigError>([&] { parse_prompt_template(text, "finetune.prompt_template"); });
  };
  EXPECT_THAT(refusal("alpaca"), HasSubstr("[finetune.prompt_template] expected"));
  EXPECT_THAT(refusal("{\"human\": [\"\", \"\"]}"), HasSubstr("got \"human\""));
  EXPECT_THAT(refusal("{\"user\": \"Q\"}"), HasSubstr("two texts"));
  EXPECT_THAT(refusal("{\"user\": [\"Q\"]}"), HasSubstr("two texts"));
  EXPECT_THAT(refusal("{\"user\": [\"Q\", 1]}"), HasSubstr("got 1"));
  EXPECT_THAT(refusal("{\"user\""), HasSubstr("finetune.prompt_template"));
}

// As Llama3Tokenizer of torchtune does: every part by itself, without blanks at its ends, trained as its message is.
TEST(PromptTemplate, WordsAreTokensOfTheirMessage) {
  const Llama3Tokens tokens(small_tokenizer());
  const auto row = nlohmann::ordered_json::parse(
      R"({"messages": [{"role": "user", "content": "a stone"}, {"role": "assistant", "content": "heavy"}]})");
  RowTokenOptions options{.shift = LabelShift::kNone};
  options.prompt_template = parse_prompt_template(R"({"user": ["ask: ", ""], "assistant": ["say: ", " so"]})", "p");
  std::vector<int32_t> expected = {tokens.begin_of_text}, labels = {kMaskedLabel};
  for (const auto& [role, parts] : {std::pair{"user", std::vector<std::string>{"ask:", "a stone"}},
                                    {"assistant", std::vector<std::string>{"say:", "heavy", "so"}}}) {
    tokens.append_header(role, expected);
    for (const std::string& part : parts) small_tokenizer().append_plain(part, expected);
    expected.push_back(tokens.end_of_turn);
    const bool is_trained = std::string(role) == "assistant";
    for (size_t i = labels.size(); i < expected.size(); ++i) labels.push_back(is_trained ? expected[i] : kMaskedLabel);
  }
  expected.push_back(tokens.end_of_text);
  labels.push_back(kMaskedLabel);
  const TokenSample sample = tokens_of_row(row, options, tokens, "row");
  EXPECT_EQ(sample.tokens, expected);
  EXPECT_EQ(sample.labels, labels);
}

}  // namespace
}  // namespace millrace
