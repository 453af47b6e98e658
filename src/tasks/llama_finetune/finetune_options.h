// The text that a language model is trained on: the section [finetune].
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/option.h"
#include "language/chat_encoder.h"
#include "language/epoch_plan.h"
#include "language/row_format.h"
#include "tasks/result_naming.h"

namespace millrace {

constexpr std::array<Choice<RowStyle>, 5> choices_of(RowStyle) {
  return {{{"openai", RowStyle::kOpenAi},
           {"sharegpt", RowStyle::kShareGpt},
           {"instruct", RowStyle::kInstruct},
           {"alpaca", RowStyle::kAlpaca},
           {"text", RowStyle::kText}}};
}
constexpr std::array<Choice<ChatLayout>, 2> choices_of(ChatLayout) {  // that can be trained
  return {{{"torchtune", ChatLayout::kTorchtune}, {"template", ChatLayout::kTemplate}}};
}
constexpr std::array<Choice<MaskingStrategy>, 3> choices_of(MaskingStrategy) {
  return {{{"assistant", MaskingStrategy::kAssistant},
           {"last_assistant", MaskingStrategy::kLastAssistant},
           {"all", MaskingStrategy::kAll}}};
}
constexpr std::array<Choice<TorchtuneVersion>, 2> choices_of(TorchtuneVersion) {
  return {{{"main", TorchtuneVersion::kMain}, {"0.6.1", TorchtuneVersion::kRelease}}};
}
constexpr std::array<Choice<Truncation>, 2> choices_of(Truncation) {
  return {{{"right", Truncation::kRight}, {"left", Truncation::kLeft}}};
}

constexpr std::array<Choice<Packing>, 3> choices_of(Packing) {
  return {{{"none", Packing::kNone}, {"greedy", Packing::kGreedy}, {"best_fit", Packing::kBestFit}}};
}

constexpr std::array<Choice<EpochOrder>, 2> choices_of(EpochOrder) {
  return {{{"millrace", EpochOrder::kMillrace}, {"torchtune", EpochOrder::kTorchtune}}};
}

// Whether the rows' tokens are kept in a file. kAuto: with packing, which has to know the length of every row.
enum class TokenCaching { kAuto, kNone, kDisk };
constexpr std::array<Choice<TokenCaching>, 3> choices_of(TokenCaching) {
  return {{{"auto", TokenCaching::kAuto}, {"none", TokenCaching::kNone}, {"disk", TokenCaching::kDisk}}};
}

// What the files of rows are; kAuto: what their names say.
enum class DataFormat { kAuto, kJson, kCsv, kTable, kText, kParagraphs, kDocuments };
constexpr std::array<Choice<DataFormat>, 7> choices_of(DataFormat) {
  return {{{"auto", DataFormat::kAuto},
           {"json", DataFormat::kJson},
           {"csv", DataFormat::kCsv},
           {"table", DataFormat::kTable},
           {"text", DataFormat::kText},
           {"paragraphs", DataFormat::kParagraphs},
           {"documents", DataFormat::kDocuments}}};
}

constexpr std::array<Choice<ResultNaming>, 3> choices_of(ResultNaming) {
  return {{{"none", ResultNaming::kNone}, {"epochs", ResultNaming::kEpochs}, {"steps", ResultNaming::kSteps}}};
}

struct FinetuneConfig {
  std::vector<std::string> data;
  std::vector<std::string> data_weights;  // numbers
  std::vector<std::string> data_sets;     // objects of JSON
  std::string data_field;
  DataFormat data_format = DataFormat::kAuto;
  std::string csv_separator = ",";
  std::string split;
  std::vector<std::string> validation_data;
  std::string validation_split;
  std::vector<std::string> validation_sets;  // as data_sets
  RowStyle rows = RowStyle::kOpenAi;
  std::string column;
  std::vector<std::string> columns;
  std::string new_system_prompt;
  std::string prompt_template;
  MaskingStrategy train_on = MaskingStrategy::kAssistant;
  std::string tokenizer;
  ChatLayout chat_layout = ChatLayout::kTorchtune;
  TorchtuneVersion torchtune_version = TorchtuneVersion::kMain;
  int64_t max_seq_len = 0;
  Truncation truncation = Truncation::kRight;
  bool add_eos = true;
  Packing packing = Packing::kNone;
  bool split_across_packs = false;
  std::optional<int64_t> max_packs;
  TokenCaching cache_tokens = TokenCaching::kAuto;
  std::string cache_folder;
  bool shuffle = true;
  EpochOrder order = EpochOrder::kMillrace;
  int64_t epochs = 0;
  std::optional<int64_t> max_steps_per_epoch;
  bool save_model = true;
  bool save_merged = false;
  ResultNaming result_folders = ResultNaming::kNone;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(data, {.name = "data",
                 .meaning = "rows, read one source after the other: files (.json, a list or lines, .jsonl, .csv, "
                            ".parquet, .arrow, or .txt, whose lines are texts), folders of them, or data sets of "
                            "Hugging Face's hub as OWNER/NAME, which "
                            "`millrace download dataset OWNER/NAME` has fetched"});
    visit(data_weights, {.name = "data_weights",
                         .meaning = "how often an epoch has the rows of each source of data, as \"2.5\"; with "
                                    "\"0.5\", every second row; empty: once each"});
    visit(data_sets,
          {.name = "data_sets",
           .meaning = "instead of data, data sets whose rows differ in form, each as JSON, {\"data\": \"a.jsonl\", "
                      "\"rows\": \"alpaca\"}: data and, where they are others than in this section, data_field, "
                      "data_format, csv_separator, split (of its own rows), rows, column, columns, new_system_prompt, "
                      "train_on, add_eos and weight; with order "
                      "torchtune, which packs each by itself, also split_across_packs and max_packs"});
    visit(data_field, {.name = "data_field",
                       .meaning = "of a .json file that is one object, the member that holds the list of rows; empty: "
                                  "the file is the list",
                       .none_is_empty = true});
    visit(data_format,
          {.name = "data_format",
           .meaning = "what the files of data are: json (also lines of it), csv, table (Parquet or Arrow), "
                      "or text, of which each line, each of the paragraphs that empty lines are between, "
                      "or all (documents) is a row; auto: what their names say"});
    visit(csv_separator, {.name = "csv_separator", .meaning = "the character between the fields of CSV"});
    visit(split,
          {.name = "split",
           .meaning = "part of the rows to train on, written like \"train[:95%]\" or \"train[100:]\"; its name says "
                      "which files of a folder or data set count; empty: all of train",
           .none_is_empty = true});
    visit(validation_data, {.name = "validation_data",
                            .meaning = "files of rows to validate on, with validation.enable; empty: those of data, of "
                                       "which validation_split takes a part"});
    visit(validation_split, {.name = "validation_split",
                             .meaning = "part of the rows to validate on, such as \"train[95%:]\"; empty: all",
                             .none_is_empty = true});
    visit(validation_sets,
          {.name = "validation_sets", .meaning = "instead of validation_data, data sets as those of data_sets"});
    visit(rows, {.name = "rows",
                 .meaning = "what a row is: openai (messages of role and content), sharegpt (conversations of from and "
                            "value), instruct (input, output), alpaca (instruction, input, output) or text"});
    visit(column, {.name = "column",
                   .meaning = "column of the conversation or the text; empty: messages, conversations or text",
                   .none_is_empty = true});
    visit(columns, {.name = "columns",
                    .meaning = "what columns are called in the data, as \"input=question\"; others keep their names"});
    visit(new_system_prompt, {.name = "new_system_prompt",
                              .meaning = "system message in front of every conversation, instead of the row's own; not "
                                         "for alpaca and text",
                              .none_is_empty = true});
    visit(prompt_template,
          {.name = "prompt_template",
           .meaning = "with chat_layout torchtune, words before and after each message, by roles, as JSON, {\"user\": "
                      "[\"Question: \", \"Answer: \"]}, or one of torchtune's: chatml, grammar, summarize, "
                      "question_answer; a role's words are trained where its messages are; blanks at the ends of words "
                      "and messages are left out; empty: none",
           .none_is_empty = true});
    visit(train_on,
          {.name = "train_on",
           .meaning = "messages that the loss is taken of: assistant (every answer), last_assistant (the last "
                      "answer) or all (questions too); a text is trained whole"});
    visit(tokenizer,
          {.name = "tokenizer",
           .meaning = "tokenizer.json, tokenizer.model, a .gguf file, or a folder with one; empty: beside the "
                      "weights of checkpoint.initial_load_path, or in them",
           .none_is_empty = true});
    visit(chat_layout, {.name = "chat_layout",
                        .meaning = "how a conversation becomes tokens: torchtune (Llama 3's layout, <|end_of_text|> "
                                   "behind it) or template (the model's own chat template)"});
    visit(torchtune_version,
          {.name = "torchtune_version",
           .meaning =
               "with chat_layout or order torchtune, which of its releases a run counts as: 0.6.1 "
               "trains system messages with train_on all, where main never does, and in "
               "packs of texts also the first token of each text; with order torchtune it trains what is left over of "
               "an epoch in the next one, where main leaves it out unless adapters are trained"});
    visit(max_seq_len, {.name = "max_seq_len",
                        .unit = "tokens",
                        .meaning = "longest sample, and length of a pack; 0: no limit, which packing does not allow",
                        .at_least = 0,
                        .at_most = 1 << 24});
    visit(truncation, {.name = "truncation", .meaning = "which end of a longer sample is cut off"});
    visit(add_eos, {.name = "add_eos", .meaning = "end every text (rows = \"text\") with the end-of-text token"});
    visit(packing, {.name = "packing",
                    .meaning = "put several samples beside each other, up to max_seq_len tokens, which do not see each "
                               "other: greedy (in their order, as torchtune) or best_fit (the fullest packs); none: a "
                               "sample is a row of the data"});
    visit(split_across_packs,
          {.name = "split_across_packs",
           .meaning = "with greedy packing: a sample that does not fit continues in the next pack"});
    visit(max_packs, {.name = "max_packs",
                      .unit = "packs",
                      .meaning = "packs of an epoch; None: as many as the data makes",
                      .at_least = 1});
    visit(
        cache_tokens,
        {.name = "cache_tokens",
         .meaning = "keep the tokens of all rows in a file, which all ranks of a machine and later starts read: disk; "
                    "none: tokenise each row when it is needed; auto: disk with packing, which needs the length of "
                    "every row before the first step, else none"});
    visit(cache_folder, {.name = "cache_folder",
                         .meaning = "where kept tokens lie, which runs may share; empty: the folder tokens in "
                                    "job.dump_folder, which has those of the newest rows",
                         .none_is_empty = true});
    visit(shuffle,
          {.name = "shuffle", .meaning = "draw the samples of each epoch in another order; else as in the data"});
    visit(order,
          {.name = "order",
           .meaning = "millrace: an order of training.seed and the epoch, every sample once an epoch; torchtune: "
                      "the order and the incomplete batches of torchtune's sampler, whatever the seed"});
    visit(epochs, {.name = "epochs",
                   .unit = "epochs",
                   .meaning = "length of the run, from which training.steps then follows; 0: training.steps",
                   .at_least = 0});
    visit(max_steps_per_epoch, {.name = "max_steps_per_epoch",
                                .unit = "steps",
                                .meaning = "with order torchtune: cut each epoch to so many steps; None: whole epochs",
                                .at_least = 1});
    visit(save_model, {.name = "save_model",
                       .meaning = "at the end, write the whole trained model into job.dump_folder/model, a folder as "
                                  "Hugging Face's libraries read it, from the last checkpoint; adapters are written at "
                                  "every checkpoint into job.dump_folder/adapter"});
    visit(save_merged, {.name = "save_merged",
                        .meaning = "of a run that trains adapters: at the end, write the whole model with them merged "
                                   "in, too, into job.dump_folder/model"});
    visit(result_folders,
          {.name = "result_folders",
           .meaning = "leave what checkpoints hold in folders of job.dump_folder, for other programs: the whole model "
                      "as save_model or save_merged write it at the end, and adapters. epochs: epoch_0, epoch_1 and so "
                      "on, each with a checkpoint at the end of its epoch; steps: step_N of every checkpoint; of both "
                      "the newest checkpoint.keep_latest_k stay"});
  }
  bool keeps_tokens() const {
    return cache_tokens == TokenCaching::kDisk || (cache_tokens == TokenCaching::kAuto && packing != Packing::kNone);
  }
  bool operator==(const FinetuneConfig&) const = default;
};

}  // namespace millrace
