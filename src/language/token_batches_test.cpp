#include "language/token_batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/error.h"
#include "base/files.h"
#include "language/test_support.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class TokenBatchesTest : public testing::Test {
 protected:
  TokenBatchesTest() {
    std::string name = (fs::temp_directory_path() / "millrace_rows_XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~TokenBatchesTest() override { fs::remove_all(folder_); }

  TokenSource source(const std::string& lines, double max_bad = 0.5) {
    write_file_atomically(folder_ / "rows.jsonl", lines);
    RowEncoderOptions options;
    options.format.style = RowStyle::kText;
    TokenSource source;
    source.rows =
        std::make_shared<RowSet>(std::vector<std::string>{(folder_ / "rows.jsonl").string()}, RowFileForm(), "");
    source.encoder = std::make_shared<RowEncoder>(golden_path("recipes/base/tokenizer.model"), options);
    source.bad_rows = std::make_shared<BadRows>(source.rows->size(), max_bad);
    return source;
  }
  static std::string texts(int count) {
    std::string lines;
    for (int i = 0; i < count; ++i) lines += "{\"text\": \"row number " + std::to_string(i * 7) + "\"}\n";
    return lines;
  }
  static MicrobatchPlan plan(const TokenSource& source, int64_t samples) {
    EpochPlanOptions epochs;
    epochs.num_rows = source.rows->size();
    return {EpochPlanner(epochs, {}), {.samples = samples}};
  }

  fs::path folder_;
  ThreadPool pool_{2};
};

std::multimap<size_t, std::vector<int32_t>> tokens_of(const TokenMicrobatch& microbatch) {
  std::multimap<size_t, std::vector<int32_t>> tokens;
  for (const TokenPass& pass : microbatch.passes) {
    for (const TokenDocument& one : pass.documents) tokens.emplace(one.tokens.tokens.size(), one.tokens.tokens);
  }
  return tokens;
}

TEST_F(TokenBatchesTest, RanksShareEveryMicrobatch) {
  const TokenSource rows = source(texts(11));
  TokenBatches whole(rows, plan(rows, 4), {}, pool_);
  TokenBatches first(rows, plan(rows, 4), {.rank = 0, .ranks = 2}, pool_);
  TokenBatches second(rows, plan(rows, 4), {.rank = 1, .ranks = 2}, pool_);
  for (int i = 0; i < 6; ++i) {
    const TokenMicrobatch all = whole.next(), a = first.next(), b = second.next();
    auto parts = tokens_of(a);
    parts.merge(tokens_of(b));
    std::vector<std::vector<int32_t>> expected, got;
    for (const auto& [size, ids] : tokens_of(all)) expected.push_back(ids);
    for (const auto& [size, ids] : parts) got.push_back(ids);
    std::sort(expected.begin(), expected.end());
    std::sort(got.begin(), got.end());
    EXPECT_EQ(got, expected);
    EXPECT_EQ(a.digest + b.digest, all.digest);
    EXPECT_EQ(a.position, all.position);
  }
}

TEST_F(TokenBatchesTest, ResumesBehindAnyMicrobatch) {
  const TokenSource rows = source(texts(7));
  TokenBatches whole(rows, plan(rows, 3), {}, pool_);
  for (int i = 0; i < 6; ++i) {
    TokenBatches resumed(rows, plan(rows, 3), {}, pool_);
    resumed.next();
    resumed.restore(whole.position());
    EXPECT_EQ(tokens_of(resumed.next()), tokens_of(whole.next()));
  }
}

TEST_F(TokenBatchesTest, BadRowsAreLeftOutUpToTheLimit) {
  const std::string lines = texts(3) + "{\"txt\": 1}\n";
  const TokenSource rows = source(lines);
  TokenBatches batches(rows, plan(rows, 4), {}, pool_);
  const TokenMicrobatch microbatch = batches.next();
  EXPECT_EQ(microbatch.passes.at(0).num_samples, 3);
  EXPECT_EQ(rows.bad_rows->count(), 1);
  EXPECT_EQ(source(lines).lengths(pool_).back(), 0);

  const TokenSource strict = source(lines, 0.2);
  TokenBatches stopped(strict, plan(strict, 4), {}, pool_);
  EXPECT_NE(message_of<DataError>([&] { stopped.next(); }).find("rows.jsonl:4"), std::string::npos);
}

// A row is in many microbatches, which threads read in any order: none may pass once the limit is exceeded.
TEST_F(TokenBatchesTest, TooManyBadRowsAreAnErrorAtEveryMeeting) {
  BadRows rows(4, 0.25);
  rows.add(3, "rows.jsonl:4");
  rows.add(3, "rows.jsonl:4");
  for (int i = 0; i < 2; ++i) {
    EXPECT_NE(message_of<DataError>([&] { rows.add(1, "rows.jsonl:2"); }).find("first: rows.jsonl:4"),
              std::string::npos);
  }
  EXPECT_THROW(rows.add(3, "rows.jsonl:4"), DataError);
  EXPECT_EQ(rows.count(), 2);
}

TEST_F(TokenBatchesTest, APieceOfARowKeepsItsPositions) {
  TokenSource rows = source(texts(1));
  const TokenSample whole = rows.documents({{0, 0, -1}}).at(0).tokens;
  ASSERT_GE(whole.tokens.size(), 4U);
  const TokenDocument piece = rows.documents({{0, 2, 2}}).at(0);
  EXPECT_EQ(piece.first_position, 2);
  EXPECT_EQ(piece.tokens.tokens, std::vector<int32_t>(whole.tokens.begin() + 2, whole.tokens.begin() + 4));
  EXPECT_EQ(piece.tokens.labels, std::vector<int32_t>(whole.labels.begin() + 2, whole.labels.begin() + 4));
  rows.max_length = 2;
  EXPECT_EQ(rows.documents({{0, 2, 2}}).at(0).first_position, 0);
}

TEST_F(TokenBatchesTest, LabelsOfTorchtunesReleaseAreShiftedOverThePack) {
  TokenSource rows = source(texts(2));
  RowEncoderOptions options;
  options.format.style = RowStyle::kText;
  options.shift = LabelShift::kNone;
  TokenSource release = rows;
  release.encoder = std::make_shared<RowEncoder>(golden_path("recipes/base/tokenizer.model"), options);
  const TextPieces pack = {{0, 1, 3}, {1, 0, 4}};
  const std::vector<TokenDocument> ours = rows.documents(pack), theirs = release.documents(pack);
  ASSERT_EQ(theirs.size(), 2U);
  std::vector<int32_t> tokens, labels;
  for (const TokenDocument& document : theirs) {
    tokens.insert(tokens.end(), document.tokens.tokens.begin(), document.tokens.tokens.end());
    labels.insert(labels.end(), document.tokens.labels.begin(), document.tokens.labels.end());
    EXPECT_EQ(document.counted, static_cast<int64_t>(document.tokens.tokens.size()));
  }
  tokens.erase(tokens.begin());
  tokens.push_back(kMaskedLabel);
  EXPECT_EQ(labels, tokens);
  EXPECT_NE(ours.at(0).tokens.labels, theirs.at(0).tokens.labels);  // the row continues in the next pack
  EXPECT_EQ(rows.documents({{0, 0, -1}}).at(0).counted + 1, release.documents({{0, 0, -1}}).at(0).counted);
}

TEST_F(TokenBatchesTest, AVocabularyThatIsNotLlamasHintsAtTheOptionOfRuns) {
  auto json = golden_json("recipes/base/tokenizer.json");
  json["added_tokens"].erase(json["added_tokens"].size() - 3);  // <|eot_id|>
  write_file_atomically(folder_ / "tokenizer.json", json.dump());
  EXPECT_NE(message_of<ModelError>([&] {
              RowEncoder(folder_ / "tokenizer.json", {});
            }).find("<|eot_id|>, got a vocabulary without it (try finetune.chat_layout = \"template\""),
            std::string::npos);
}

TEST_F(TokenBatchesTest, ASetOfFilesIsReadInTheirOrderAndByParts) {
  write_file_atomically(folder_ / "a.jsonl", texts(3));
  write_file_atomically(folder_ / "b.csv", "text\nfirst\nsecond\n");
  const std::vector<std::string> files = {(folder_ / "a.jsonl").string(), (folder_ / "b.csv").string()};
  RowSet part(files, RowFileForm(), "train[2:4]");
  ASSERT_EQ(part.size(), 2);
  EXPECT_EQ(part.row(0)["text"], "row number 14");
  EXPECT_EQ(part.row(1)["text"], "first");
  EXPECT_NE(part.place(1).find("b.csv"), std::string::npos);
  part.keep_first(1);
  EXPECT_EQ(part.size(), 1);
}

TEST_F(TokenBatchesTest, PartsOfTheRowsHaveTheirOwnForm) {
  write_file_atomically(folder_ / "a.jsonl", texts(3));
  write_file_atomically(folder_ / "b.jsonl", "{\"input\": \"stone\", \"output\": \"river\"}\n");
  std::vector<RowSet> parts;
  for (const char* name : {"a.jsonl", "b.jsonl"}) {
    parts.emplace_back(std::vector<std::string>{(folder_ / name).string()}, RowFileForm(), "");
  }
  auto rows = std::make_shared<RowSet>(std::move(parts));
  EXPECT_EQ(rows->part_ends(), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(rows->part(2), 0U);
  EXPECT_EQ(rows->part(3), 1U);
  EXPECT_NE(rows->place(3).find("b.jsonl:1"), std::string::npos);

  TokenSource source;
  for (const RowStyle style : {RowStyle::kText, RowStyle::kInstruct}) {
    RowEncoderOptions options;
    options.format.style = style;
    source.encoders.push_back(std::make_shared<RowEncoder>(golden_path("recipes/base/tokenizer.model"), options));
  }
  source.encoder = source.encoders.front();
  source.bad_rows = std::make_shared<BadRows>(rows->size(), 0);
  source.rows = rows;
  EXPECT_EQ(source.lengths(pool_).size(), 4U);
  EXPECT_NE(source.encoder->spelling(source.sample(3).tokens).find("<|eot_id|>"), std::string::npos);
  EXPECT_EQ(source.encoder->spelling(source.sample(2).tokens).find("<|eot_id|>"), std::string::npos);

  rows->keep_first(2);
  EXPECT_EQ(rows->part_ends(), (std::vector<int64_t>{2, 2}));
}

TEST(RowEncoder, APromptEndsWithAnOpenHeader) {
  const RowEncoder encoder(golden_path("recipes/base/tokenizer.model"), {});
  const ByteLevelTokenizer& tokenizer = small_tokenizer();
  const auto id = [&](const char* name) { return *tokenizer.added_token(name); };
  const std::vector<int32_t> prompt = encoder.prompt({"stone", "river", "market"});
  EXPECT_EQ(prompt.front(), id("<|begin_of_text|>"));
  EXPECT_EQ(std::count(prompt.begin(), prompt.end(), id("<|start_header_id|>")), 4);
  EXPECT_EQ(std::count(prompt.begin(), prompt.end(), id("<|eot_id|>")), 3);
  EXPECT_EQ(std::count(prompt.begin(), prompt.end(), id("<|end_of_text|>")), 0);
  const auto stops = encoder.stop_tokens();
  EXPECT_NE(std::find(stops.begin(), stops.end(), id("<|eot_id|>")), stops.end());
}

TEST(RowEncoder, ARowsOwnTurnsAreAskedAsTheyAreTrained) {
  RowEncoderOptions options;
  options.format.style = RowStyle::kAlpaca;
  const RowEncoder encoder(golden_path("recipes/base/tokenizer.model"), options);
  const nlohmann::ordered_json row = {{"instruction", "Name a stone."}, {"input", "grey"}, {"output", "marble"}};
  const std::vector<ChatMessage> messages = messages_of_row(row, options.format, "row");
  const std::vector<int32_t> prompt = encoder.prompt({messages[0].text()}, /*from_rows=*/true);
  const std::vector<int32_t> trained = encoder.encode(row, "row").tokens;
  ASSERT_LT(prompt.size(), trained.size());
  EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), trained.begin()));
  EXPECT_EQ(encoder.prompt({"Name a stone."}), encoder.prompt({alpaca_prompt("Name a stone.", "")}, true));
}

TEST(RowEncoder, TheLastAnswerAloneCanBeTrained) {
  const auto row = nlohmann::ordered_json::parse(
      R"({"messages": [{"role": "user", "content": "stone"}, {"role": "assistant", "content": "river"},
                       {"role": "user", "content": "stone"}, {"role": "assistant", "content": "market"}]})");
  for (const ChatLayout layout : {ChatLayout::kTorchtune, ChatLayout::kTemplate}) {
    RowEncoderOptions options;
    options.layout = layout;
    const auto trained = [&](MaskingStrategy masking) {
      options.format.masking = masking;
      const TokenSample sample = RowEncoder(golden_path("recipes/base/tokenizer.model"), options).encode(row, "row");
      return std::count_if(sample.labels.begin(), sample.labels.end(), [](int32_t label) { return label >= 0; });
    };
    EXPECT_LT(trained(MaskingStrategy::kLastAssistant), trained(MaskingStrategy::kAssistant));
    EXPECT_GT(trained(MaskingStrategy::kLastAssistant), 0);
    EXPECT_GT(trained(MaskingStrategy::kAll), trained(MaskingStrategy::kAssistant));
  }
}

}  // namespace
}  // namespace millrace
