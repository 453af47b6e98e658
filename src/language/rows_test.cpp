// Rows to samples, in the small vocabulary of the recipes; tests/parity has those in Llama 3's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/split_slices.h"
#include "language/packing.h"
#include "language/row_tokens.h"
#include "language/sample_order.h"
#include "language/test_support.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using json = nlohmann::ordered_json;

std::vector<TokenSample> samples_of(const std::string& rows, const RowTokenOptions& options) {
  const Llama3Tokens tokens(small_tokenizer());
  std::vector<TokenSample> samples;
  for (const json& row : golden_json(rows)) samples.push_back(tokens_of_row(row, options, tokens, "rows"));
  return samples;
}

TEST(Rows, EqualTheSamplesOfARecipe) {
  const std::vector<TokenSample> samples =
      samples_of("recipes/chat.json", {.max_length = 112, .shift = LabelShift::kNone});
  const json expected = golden_json("recipes/full/samples.json");
  ASSERT_EQ(samples.size(), expected.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    EXPECT_EQ(samples[i].tokens, expected[i]["tokens"].get<std::vector<int32_t>>());
    EXPECT_EQ(samples[i].labels, expected[i]["labels"].get<std::vector<int32_t>>());
  }
}

TEST(Rows, EqualThePacksOfARecipe) {
  const std::vector<TokenSample> samples =
      samples_of("recipes/chat.json", {.max_length = 112, .shift = LabelShift::kNone});
  const std::vector<Pack> packs = pack_greedily(samples, {.max_length = 112});
  const json expected = golden_json("recipes/full_packed/samples.json");
  ASSERT_EQ(packs.size(), expected.size());
  for (size_t i = 0; i < packs.size(); ++i) {
    EXPECT_EQ(packs[i].tokens, expected[i]["tokens"].get<std::vector<int32_t>>());
    EXPECT_EQ(packs[i].labels, expected[i]["labels"].get<std::vector<int32_t>>());
    EXPECT_EQ(packs[i].positions, expected[i]["input_pos"].get<std::vector<int32_t>>());
    EXPECT_EQ(packs[i].sequence_lengths, expected[i]["seq_lens"].get<std::vector<int32_t>>());
  }
}

// "instruct_columns|train_on_input_true|column_map input=question output=answer|new_system_prompt=Count."
RowFormat format_of(const std::string& name) {
  RowFormat format;
  const auto has = [&](const char* word) { return name.find(word) != std::string::npos; };
  format.style = has("sharegpt") || has("chat_columns") ? RowStyle::kShareGpt
                 : has("openai")                        ? RowStyle::kOpenAi
                 : has("instruct")                      ? RowStyle::kInstruct
                                                        : RowStyle::kAlpaca;
  if (has("chat_columns")) format.column = "dialogue";
  if (has("column_map")) format.columns = {{"input", "question"}, {"output", "answer"}};
  if (has("new_system_prompt=")) format.new_system_prompt = name.substr(name.find("prompt=") + 7);
  format.masking = has("train_on_input_true") ? MaskingStrategy::kAll : MaskingStrategy::kAssistant;
  return format;
}

TEST(Rows, BecomeTheMessagesOfTorchtune) {
  const json all_rows = golden_json("data/rows.json");
  int compared = 0;
  const json transforms = golden_json("data/transforms.json");
  for (const auto& [name, expected] : transforms.items()) {
    if (name.rfind("text", 0) == 0) continue;
    const json& rows = all_rows[name.substr(0, name.find('|'))];
    for (const TorchtuneVersion version : {TorchtuneVersion::kRelease, TorchtuneVersion::kMain}) {
      RowFormat format = format_of(name);
      format.version = version;
      for (size_t i = 0; i < rows.size(); ++i, ++compared) {
        const std::vector<ChatMessage> messages = messages_of_row(rows[i], format, name);
        ASSERT_EQ(messages.size(), expected[i]["messages"].size()) << name;
        const bool other_masks = version == TorchtuneVersion::kMain && expected[i].contains("masked_main");
        for (size_t k = 0; k < messages.size(); ++k) {
          const json& message = expected[i]["messages"][k];
          EXPECT_EQ(messages[k].role, message["role"]) << name;
          EXPECT_EQ(messages[k].text(), message["text"]) << name;
          EXPECT_EQ(messages[k].eot, message["eot"].get<bool>()) << name;
          EXPECT_EQ(messages[k].masked, (other_masks ? expected[i]["masked_main"][k] : message["masked"]).get<bool>())
              << name;
        }
      }
    }
  }
  EXPECT_GE(compared, 150);
}

TEST(Rows, TextsAreTrainedAsAWhole) {
  const Llama3Tokens tokens(small_tokenizer());
  const json row = {{"text", "a short note"}};
  RowTokenOptions options{.format = {.style = RowStyle::kText}};
  const TokenSample whole = tokens_of_row(row, options, tokens, "row");
  EXPECT_EQ(whole.tokens.front(), tokens.begin_of_text);
  EXPECT_EQ(whole.tokens.back(), tokens.end_of_text);
  EXPECT_EQ(std::vector<int32_t>(whole.labels.begin(), whole.labels.end() - 1),
            std::vector<int32_t>(whole.tokens.begin() + 1, whole.tokens.end()));
  EXPECT_EQ(whole.labels.back(), kMaskedLabel);
  options.max_length = 4;
  options.shift = LabelShift::kNone;
  const TokenSample cut = tokens_of_row(row, options, tokens, "row");
  EXPECT_EQ(cut.tokens, std::vector<int32_t>(whole.tokens.begin(), whole.tokens.begin() + 3))
      << "one less than max_length";
  EXPECT_EQ(cut.labels, cut.tokens);
  EXPECT_TRUE(tokens_of_row({{"text", ""}}, options, tokens, "row").tokens.empty());
}

TEST(Rows, SampleOrderIsTorchtunes) {
  EXPECT_THAT(torch_randperm(10, 0), ElementsAre(4, 1, 7, 5, 3, 9, 0, 8, 6, 2));
  EXPECT_THAT(torch_randperm(10, 1), ElementsAre(5, 6, 1, 2, 0, 8, 9, 3, 7, 4));
  for (const char* recipe : {"full", "full_leftover", "full_packed"}) {
    const json epochs = golden_json(std::string("recipes/") + recipe + "/order.json")["order_per_epoch"];
    for (size_t epoch = 0; epoch < epochs.size(); ++epoch) {
      const auto n = static_cast<int64_t>(epochs[epoch].size());
      EXPECT_EQ(torchtune_sample_order(n, static_cast<int64_t>(epoch), true), epochs[epoch].get<std::vector<int64_t>>())
          << recipe;
    }
  }
  EXPECT_THAT(torchtune_sample_order(5, 0, false, {.replicas = 2, .rank = 1}), ElementsAre(1, 3, 0));
}

TEST(Rows, MessagesPassAsInTorchtune) {
  int refused = 0;
  for (const json& one : golden_json("data/validation.json")) {
    std::vector<ChatMessage> messages;
    for (const json& message : one["messages"]) messages.push_back(chat_message_of(message, "row"));
    if (one["ok"].get<bool>()) {
      EXPECT_NO_THROW(validate_messages(messages, "row")) << one;
    } else {
      EXPECT_THROW(validate_messages(messages, "row"), DataError) << one;
      ++refused;
    }
  }
  EXPECT_GT(refused, 5);
}

TEST(Rows, ToolAnswersFollowCalls) {
  const auto message = [](const char* role, bool ipython) {
    return ChatMessage{.role = role, .parts = {"x"}, .ipython = ipython};
  };
  const std::vector<ChatMessage> good = {message("user", false), message("assistant", true), message("tool", false),
                                         message("assistant", false)};
  EXPECT_NO_THROW(validate_messages(good, "row"));
}

std::string shape(const char* row, RowStyle style) {
  std::string text;
  for (const ChatMessage& one : messages_of_row(json::parse(row), {.style = style}, "row")) {
    text += one.role + (one.ipython ? "!" : "") + (one.eot ? "" : "~") + (one.masked ? " " : "* ") + one.text() + "|";
  }
  return text;
}

TEST(Rows, ToolsCallAndAnswerInEveryForm) {
  EXPECT_EQ(shape(R"({"conversations": [{"from": "human", "value": "A?"}, {"from": "function_call", "value": "call"},
      {"from": "observation", "value": "1"}, {"from": "gpt", "value": "A."}]})",
                  RowStyle::kShareGpt),
            "user A?|assistant!~* call|ipython~ 1|assistant* A.|");
  // A text in front of an answer is a call, too, and several answers may follow.
  EXPECT_EQ(shape(R"({"messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "call"},
      {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}, {"role": "assistant", "content": "A."}]})",
                  RowStyle::kOpenAi),
            "user A?|assistant!~* call|tool~ 1|tool~ 2|assistant* A.|");
  EXPECT_EQ(shape(R"({"messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": null,
      "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{\"x\": [1, 2]}"}},
                     {"function": {"name": "g", "arguments": {}}}]}]})",
                  RowStyle::kOpenAi),
            "user A?|assistant!~* {\"name\": \"f\", \"parameters\": {\"x\": [1, 2]}}; "
            "{\"name\": \"g\", \"parameters\": {}}|");
}

std::string fault(const char* row, const RowFormat& format) {
  return message_of<DataError>([&] { messages_of_row(json::parse(row), format, "rows.jsonl:7"); });
}

TEST(Rows, FaultsNameRowAndMessage) {
  EXPECT_EQ(fault(R"({"conversations": [], "id": 1})", {.style = RowStyle::kShareGpt, .column = "conversation"}),
            "[rows.jsonl:7] expected a column \"conversation\", got conversations, id (try conversations)");
  EXPECT_EQ(fault(R"({"conversations": [{"from": "narrator", "value": ""}]})", {.style = RowStyle::kShareGpt}),
            "[rows.jsonl:7, message 1] expected \"from\" to be system, human, gpt, function_call or observation, got "
            "\"narrator\"");
  EXPECT_THAT(fault(R"({"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]})", {}),
              HasSubstr("message 2] expected a tool's answer behind a message that calls a tool"));
  EXPECT_THAT(
      fault(R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "x"}}]}]})",
            {}),
      HasSubstr("expected arguments of a tool call as a JSON object"));
  EXPECT_EQ(fault(R"({"messages": [{"role": "asistant", "content": ""}]})", {}),
            "[rows.jsonl:7, message 1] expected a role of system, user, assistant, ipython, tool, got \"asistant\" "
            "(try assistant)");
  EXPECT_THAT(fault(R"({"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]})", {}),
              HasSubstr("a conversation that masks everything"));
  EXPECT_THAT(fault(R"({"input": "a"})", {.style = RowStyle::kInstruct}),
              HasSubstr("expected a column \"output\", got input"));
  EXPECT_THAT(fault(R"({"input": "a", "output": 3})", {.style = RowStyle::kInstruct}),
              HasSubstr("to be text, got a number"));
  EXPECT_THAT(fault(R"({"messages": "a"})", {}), HasSubstr("to be a list of messages, got text"));
  EXPECT_THAT(fault(R"(["a"])", {}), HasSubstr("expected rows {\"column\": ...}, got a list"));
  EXPECT_THAT(fault("{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}", {}),
              HasSubstr("pictures are not read"));
}

TEST(Rows, TheLastAnswerAloneMayBeTrained) {
  const json row = json::parse(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
      {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}, {"role": "user", "content": "e"}]})");
  const auto messages = messages_of_row(row, {.masking = MaskingStrategy::kLastAssistant}, "row");
  std::vector<bool> masked;
  for (const ChatMessage& message : messages) masked.push_back(message.masked);
  EXPECT_THAT(masked, ElementsAre(true, true, true, false, true));
}

TEST(Splits, RoundAsDatasetsDoes) {
  const auto ranges = [](const char* text, int64_t rows) { return parse_split(text, rows).ranges; };
  EXPECT_THAT(ranges("train", 7), ElementsAre(RowRange{0, 7}));
  EXPECT_THAT(ranges("train[:95%]", 51760), ElementsAre(RowRange{0, 49172}));
  EXPECT_THAT(ranges("train[95%:]", 51760), ElementsAre(RowRange{49172, 51760}));
  EXPECT_THAT(ranges("train[:50%]", 5), ElementsAre(RowRange{0, 2}));  // 2.5 to the even row
  EXPECT_THAT(ranges("train[:50%]", 7), ElementsAre(RowRange{0, 4}));  // 3.5
  EXPECT_THAT(ranges("train[-3:]", 7), ElementsAre(RowRange{4, 7}));
  EXPECT_THAT(ranges("train[10%:20%]+train[-10%:]", 100), ElementsAre(RowRange{10, 20}, RowRange{90, 100}));
  EXPECT_THAT(ranges("train[2:5]", 7), ElementsAre(RowRange{2, 5}));
  EXPECT_THAT(ranges("train[3:70%]", 23), ElementsAre(RowRange{1, 16}));  // one % is of both
  EXPECT_THAT(ranges("train[5%:9]", 23), ElementsAre(RowRange{1, 2}));
  EXPECT_THAT(ranges("train[:200]", 23), ElementsAre(RowRange{0, 23}));
  EXPECT_THAT(ranges("train[30:]", 23), ElementsAre(RowRange{23, 23}));
  EXPECT_THAT(ranges("train[10%:20%](closest)", 23), ElementsAre(RowRange{2, 5}));
  EXPECT_THAT(ranges("train[:1_0]", 23), ElementsAre(RowRange{0, 10}));
  EXPECT_THAT(ranges("train[-1_0:]", 23), ElementsAre(RowRange{13, 23}));
}

TEST(Splits, RefuseOtherTexts) {
  for (const char* text :
       {"", "train[", "train[5]", "train[a:b]", "train[:101%]", "train[101:5%]", "train+test", "[:5]", "train[:_5]",
        "train[-_5:]", "train[:5_]", "train[:1__0]", "train[:5](closest)", "train[:95%](pct1_dropremainder)"}) {
    EXPECT_THAT(message_of<ConfigError>([&] { parse_split(text, 7); }), HasSubstr("[split] expected")) << text;
  }
}

}  // namespace
}  // namespace millrace
