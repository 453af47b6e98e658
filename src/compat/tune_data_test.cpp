// What a recipe says of its data sets: builders, sources, splits, validation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "compat/tune_test_support.h"

namespace millrace {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Translation lora_with(std::vector<std::string> overrides, const std::vector<std::string>& more) {
  overrides.insert(overrides.end(), more.begin(), more.end());
  return lora(overrides);
}

TEST(TuneData, TakesPromptTemplates) {
  const auto words = [](const std::string& value) {
    return setting(lora({"tokenizer.prompt_template=" + value}), "finetune.prompt_template");
  };
  EXPECT_EQ(words("torchtune.data.ChatMLTemplate"), "\"chatml\"");
  EXPECT_EQ(words("torchtune.data.QuestionAnswerTemplate"), "\"question_answer\"");
  EXPECT_THAT(words("{user: ['Question: ', 'Answer: ']}"), HasSubstr("Question: "));
  EXPECT_EQ(words("null"), "");
  const Translation of_texts = lora({"tokenizer.prompt_template=torchtune.data.ChatMLTemplate",
                                     "dataset=torchtune.datasets.text_completion_dataset", "dataset.source=a.txt"});
  EXPECT_EQ(setting(of_texts, "finetune.prompt_template"), "");
  for (const char* other : {"mine.Template", "{user: Question}", "{user: [1, 2]}", "{}"}) {
    EXPECT_THAT(lora_problem({std::string("tokenizer.prompt_template=") + other}),
                HasSubstr("tokenizer.prompt_template"))
        << other;
  }
}

TEST(TuneData, ReadsDataSetsOfEveryBuilder) {
  const auto with = [](const std::vector<std::string>& more) {
    return lora_with({"~dataset.packed", "dataset=torchtune.datasets.chat_dataset", "dataset.source=json",
                      "dataset.data_files=[a.json, b.json]"},
                     more);
  };
  const Translation chat = with({"dataset.conversation_style=sharegpt", "dataset.conversation_column=conversations",
                                 "dataset.split='train[:95%]'", "dataset.new_system_prompt=Be brief."});
  EXPECT_EQ(setting(chat, "finetune.data"), "[\"a.json\", \"b.json\"]");
  EXPECT_EQ(setting(chat, "finetune.rows"), "\"sharegpt\"");
  EXPECT_EQ(setting(chat, "finetune.column"), "\"conversations\"");
  EXPECT_EQ(setting(chat, "finetune.split"), "\"train[:95%]\"");
  EXPECT_EQ(setting(chat, "finetune.train_on"), "\"assistant\"");
  EXPECT_EQ(setting(chat, "finetune.new_system_prompt"), "\"Be brief.\"");
  const Translation instruct =
      with({"dataset=torchtune.datasets.instruct_dataset", "dataset.column_map={input: question, output: answer}",
            "dataset.train_on_input=true"});
  EXPECT_EQ(setting(instruct, "finetune.columns"), "[\"input=question\", \"output=answer\"]");
  EXPECT_EQ(setting(instruct, "finetune.train_on"), "\"all\"");
  const Translation text = with({"dataset=torchtune.datasets.text_completion_dataset", "dataset.packed=true",
                                 "dataset.add_eos=false", "tokenizer.max_seq_len=64"});
  EXPECT_EQ(setting(text, "finetune.rows"), "\"text\"");
  EXPECT_EQ(setting(text, "finetune.split_across_packs"), "true");
  EXPECT_EQ(setting(text, "finetune.add_eos"), "false");
}

TEST(TuneData, ReadsTheDataSetsThatHaveBuildersOfTheirOwn) {
  const auto of = [](const std::string& builder, const std::vector<std::string>& more = {}) {
    return lora_with({"dataset=torchtune.datasets." + builder}, more);
  };
  const Translation samsum = of("samsum_dataset");
  EXPECT_EQ(setting(samsum, "finetune.data"), "[\"Samsung/samsum\"]");
  EXPECT_EQ(setting(samsum, "finetune.rows"), "\"instruct\"");
  EXPECT_EQ(setting(samsum, "finetune.columns"), "[\"input=dialogue\", \"output=summary\"]");
  EXPECT_EQ(setting(samsum, "finetune.train_on"), "\"assistant\"");
  EXPECT_EQ(setting(of("grammar_dataset"), "finetune.data"), "[\"liweili/c4_200m\"]");
  const Translation orca = of("slimorca_dataset", {"dataset.column_map={conversations: talk}"});
  EXPECT_EQ(setting(orca, "finetune.rows"), "\"sharegpt\"");
  EXPECT_EQ(setting(orca, "finetune.columns"), "[\"conversations=talk\"]");
  const Translation news = of("cnn_dailymail_articles_dataset");
  EXPECT_EQ(setting(news, "finetune.rows"), "\"text\"");
  EXPECT_EQ(setting(news, "finetune.column"), "\"article\"");
  const Translation wiki = of("wikitext_dataset", {"dataset.subset=wikitext-2-v1", "dataset.packed=true"});
  EXPECT_EQ(setting(wiki, "finetune.column"), "\"page\"");
  EXPECT_EQ(setting(wiki, "finetune.split_across_packs"), "true");
  EXPECT_EQ(setting(of("alpaca_cleaned_dataset"), "finetune.data"), "[\"yahma/alpaca-cleaned\"]");
}

TEST(TuneData, SplitsAndColumnsAreCheckedBeforeARun) {
  EXPECT_THAT(lora_problem({"dataset.split='train[5:30'"}),
              HasSubstr("[dataset.split] expected a slice [from:to], got \"train[5:30\""));
  EXPECT_THAT(lora_problem({"dataset.split='train[:101%]'"}), HasSubstr("[dataset.split] expected percents from -100"));
  EXPECT_THAT(lora_problem({"dataset.split='train[5:30'", "dataset.pack=true"}),
              AllOf(HasSubstr("[dataset.split]"), HasSubstr("[dataset.pack]")));
  EXPECT_NE(setting(lora({"dataset=torchtune.datasets.slimorca_dataset", "dataset.column_map={}"}), "finetune.data"),
            "");
  EXPECT_THAT(lora_problem({"dataset=torchtune.datasets.instruct_dataset", "dataset.source=a.json",
                            "dataset.column_map={input: question}"}),
              HasSubstr("[dataset.column_map] expected a column for output, too"));
}

TEST(TuneData, FindsFilesByFolder) {
  const auto with = [](const std::vector<std::string>& more) {
    return lora_with({"dataset=torchtune.datasets.text_completion_dataset"}, more);
  };
  EXPECT_EQ(setting(with({"dataset.source=text", "dataset.data_files=[a.txt]"}), "finetune.data"), "[\"a.txt\"]");
  EXPECT_EQ(setting(with({"dataset.source=parquet", "dataset.data_dir=rows"}), "finetune.data"), "[\"rows\"]");
  EXPECT_EQ(setting(with({"dataset.source=text", "dataset.data_files={test: a.txt}", "dataset.split='test[:5%]'"}),
                    "finetune.data"),
            "[\"a.txt\"]");
  EXPECT_THAT(config_problem([&] {
                with({"dataset.source=text", "dataset.data_files=[a.txt]", "dataset.split='test[:5%]'"});
              }),
              HasSubstr("expected train, the only split of data_files without names, got test"));
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "tune_rows";
  std::filesystem::create_directories(folder / "second" / "part");
  const std::string source = "dataset.source=" + folder.string();
  EXPECT_EQ(setting(with({source, "dataset.name=second"}), "finetune.data"),
            "[\"" + (folder / "second").string() + "\"]");
  EXPECT_EQ(setting(with({source, "dataset.data_dir=second", "dataset.name=part"}), "finetune.data"),
            "[\"" + (folder / "second" / "part").string() + "\"]");
  EXPECT_THAT(with({source, "dataset.name=third"}).warnings(),
              testing::ElementsAre(HasSubstr("no folder of this name")));
  EXPECT_THAT(config_problem([&] { with({source, "dataset.data_dir=third"}); }), HasSubstr("expected a folder in"));
  EXPECT_THAT(config_problem([&] { with({"dataset.source=json"}); }), HasSubstr("expected files for source: json"));
  std::filesystem::remove_all(folder);
}

TEST(TuneData, ReadsFilesAsTheirSourceSays) {
  const auto with = [](const std::vector<std::string>& overrides) {
    return lora_with(overrides, {"dataset=torchtune.datasets.text_completion_dataset", "dataset.split=train"});
  };
  EXPECT_EQ(setting(with({"dataset.source=text", "dataset.data_files=[a.txt]"}), "finetune.data_format"), "");
  EXPECT_EQ(setting(with({"dataset.source=text", "dataset.data_files=[a.txt, b.md]"}), "finetune.data_format"),
            "\"text\"");
  EXPECT_EQ(setting(with({"dataset.source=text", "dataset.data_files=a.txt", "dataset.sample_by=paragraph"}),
                    "finetune.data_format"),
            "\"paragraphs\"");
  EXPECT_EQ(setting(with({"dataset.source=parquet", "dataset.data_dir=rows"}), "finetune.data_format"), "\"table\"");
  EXPECT_EQ(setting(with({"dataset.source=csv", "dataset.data_files=a.csv", "dataset.delimiter=;"}),
                    "finetune.csv_separator"),
            "\";\"");
  EXPECT_THAT(config_problem([&] {
                with({"dataset.source=csv", "dataset.data_files=a.csv", "dataset.sep=ab"});
              }),
              HasSubstr("[dataset.sep] expected one character"));
  EXPECT_THAT(config_problem([&] {
                with({"dataset.source=text", "dataset.data_files=a.txt", "dataset.sample_by=word"});
              }),
              HasSubstr("[dataset.sample_by] expected line, paragraph or document"));
  EXPECT_THAT(lora_problem({"dataset.source=json", "dataset.data_files=a.json", "dataset.sep=;"}),
              HasSubstr("[dataset.sep] expected a known key"));
}

TEST(TuneData, AListMayHoldUnlikeDataSets) {
  const std::string chat =
      "{_component_: torchtune.datasets.chat_dataset, source: json, data_files: a.json, conversation_style: openai, "
      "conversation_column: messages, new_system_prompt: Be brief.";
  const std::string alpaca =
      "{_component_: torchtune.datasets.alpaca_dataset, source: json, data_files: [b.json, c.json]";
  const auto list = [&](const std::string& first, const std::string& second) {
    return lora({"dataset=[" + first + "}, " + second + "}]"});
  };
  const Translation unlike = list(alpaca + ", split: 'train[:95%]'", chat);
  EXPECT_EQ(setting(unlike, "finetune.data"), "");
  EXPECT_THAT(setting(unlike, "finetune.data_sets"),
              AllOf(HasSubstr(R"(\"data\":[\"b.json\",\"c.json\"],\"split\":\"train[:95%]\",\"rows\":\"alpaca\")"),
                    HasSubstr(R"(\"train_on\":\"all\")"), HasSubstr(R"(\"new_system_prompt\":\"Be brief.\")")));
  EXPECT_EQ(setting(unlike, "finetune.rows"), "\"alpaca\"");
  // Alike, and whole: one data set.
  EXPECT_EQ(setting(list(chat, chat), "finetune.data"), "[\"a.json\", \"a.json\"]");
  // Each is split, and packed, by itself.
  EXPECT_NE(setting(list(chat + ", split: 'train[:1]'", chat + ", split: 'train[:1]'"), "finetune.data_sets"), "");
  EXPECT_NE(setting(list(chat + ", packed: true", alpaca + ", packed: true"), "finetune.data_sets"), "");
  EXPECT_THAT(config_problem([&] { list(chat + ", packed: true", alpaca); }), HasSubstr("all packed, or none"));
  const Translation validated =
      lora({"dataset=" + alpaca + "}", "dataset_val=" + chat + "}", "run_val_every_n_steps=5"});
  EXPECT_THAT(setting(validated, "finetune.validation_sets"), HasSubstr(R"(\"rows\":\"openai\")"));
  // What the rows to train on have is not taken over by those to validate on.
  const Translation plain =
      lora({"dataset=" + chat + ", field: rows}", "dataset_val=" + alpaca + "}", "run_val_every_n_steps=5"});
  EXPECT_THAT(setting(plain, "finetune.validation_sets"),
              AllOf(HasSubstr(R"(\"new_system_prompt\":\"\")"), HasSubstr(R"(\"data_field\":\"\")")));
}

TEST(TuneData, ValidatesWhereItIsAsked) {
  const std::vector<std::string> held_back = {
      "dataset_val={_component_: torchtune.datasets.alpaca_cleaned_dataset, split: 'train[95%:]'}",
      "dataset=torchtune.datasets.alpaca_cleaned_dataset"};
  EXPECT_EQ(setting(lora(held_back), "validation.enable"), "");
  std::vector<std::string> with = held_back;
  with.emplace_back("run_val_every_n_steps=50");
  EXPECT_EQ(setting(lora(with), "validation.freq"), "50");
  EXPECT_EQ(setting(lora(with), "finetune.validation_split"), "\"train[95%:]\"");
  EXPECT_EQ(setting(lora(with), "validation.local_batch_size"), "2");
}

TEST(TuneData, NullDoesNotShuffle) {
  EXPECT_EQ(setting(lora({"shuffle=null"}), "finetune.shuffle"), "false");
  EXPECT_EQ(setting(lora({"~shuffle"}), "finetune.shuffle"), "true");
}

}  // namespace
}  // namespace millrace
