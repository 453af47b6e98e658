#include "language/token_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <future>

#include "base/error.h"
#include "base/file_claim.h"
#include "language/test_support.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class TokenCacheTest : public testing::Test {
 protected:
  TokenCacheTest() {
    std::string name = (fs::temp_directory_path() / "millrace_cache_XXXXXX").string();
    folder_ = mkdtemp(name.data());
    write_rows(100);
  }
  ~TokenCacheTest() override { fs::remove_all(folder_); }

  void write_rows(int count, const std::string& more = "") const {
    std::string lines;
    for (int i = 0; i < count; ++i) lines += "{\"text\": \"row number " + std::to_string(i * 7) + "\"}\n";
    write_file_atomically(folder_ / "rows.jsonl", lines + more);
  }
  TokenSource source(const RowEncoderOptions& options = text(), const std::string& split = "",
                     const std::vector<double>& weights = {}, double max_bad = 0.5) const {
    TokenSource source;
    source.rows = std::make_shared<RowSet>(std::vector<std::string>{(folder_ / "rows.jsonl").string()}, RowFileForm(),
                                           split, weights);
    source.encoder = std::make_shared<RowEncoder>(golden_path("recipes/base/tokenizer.model"), options);
    source.bad_rows = std::make_shared<BadRows>(source.rows->size(), max_bad);
    return source;
  }
  static RowEncoderOptions text() {
    RowEncoderOptions options;
    options.format.style = RowStyle::kText;
    return options;
  }
  TokenCacheOptions options() const { return {.folder = folder_ / "tokens"}; }
  std::shared_ptr<const TokenFile> open(const TokenSource& source) {
    return open_token_cache(source, options(), pool_);
  }
  size_t files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_ / "tokens"), fs::directory_iterator()));
  }
  static void expect_same(const TokenSource& source, const std::shared_ptr<const TokenFile>& kept) {
    TokenSource cached = source;
    cached.kept = kept;
    ASSERT_NE(kept, nullptr);
    for (int64_t row = 0; row < source.rows->size(); ++row) {
      const TokenSample expected = source.sample(row), found = cached.sample(row);
      EXPECT_EQ(found.tokens, expected.tokens) << row;
      EXPECT_EQ(found.labels, expected.labels) << row;
      EXPECT_EQ(cached.length(row), static_cast<int64_t>(expected.tokens.size()));
    }
  }

  fs::path folder_;
  ThreadPool pool_{3};
};

TEST_F(TokenCacheTest, HasTheTokensOfEveryRow) {
  const TokenSource rows = source();
  const auto made = open(rows);
  expect_same(rows, made);
  const auto time = fs::last_write_time(made->path());
  expect_same(rows, open(rows));
  EXPECT_EQ(fs::last_write_time(made->path()), time);  // found, not made again
  EXPECT_EQ(files(), 1U);
}

TEST_F(TokenCacheTest, KeepsRowsThatOccurOftenOnce) {
  const TokenSource often = source(text(), "train[10:60]", {2.5}), seldom = source(text(), "", {0.25});
  const auto many = open(often), few = open(seldom);
  EXPECT_EQ(often.rows->size(), 125);
  EXPECT_EQ(many->size(), 50);
  expect_same(often, many);
  EXPECT_EQ(seldom.rows->size(), 25);
  expect_same(seldom, few);
  EXPECT_EQ(few->num_tokens(), [&] {
    int64_t tokens = 0;
    for (int64_t row = 0; row < 25; ++row) tokens += seldom.length(row);
    return tokens;
  }());
}

TEST_F(TokenCacheTest, KeepsSeveralDataSetsAndAPartOfThem) {
  write_file_atomically(folder_ / "other.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
  TokenSource both = source();
  std::vector<RowSet> parts;
  parts.emplace_back(std::vector<std::string>{(folder_ / "other.jsonl").string()}, RowFileForm(), "",
                     std::vector<double>{2});
  parts.emplace_back(std::vector<std::string>{(folder_ / "rows.jsonl").string()}, RowFileForm(), "");
  auto rows = std::make_shared<RowSet>(std::move(parts));
  rows->keep_first(10);
  both.rows = rows;
  RowEncoderOptions without_end = text();
  without_end.add_eos = false;
  both.encoders = {std::make_shared<RowEncoder>(golden_path("recipes/base/tokenizer.model"), without_end),
                   both.encoder};
  const auto kept = open(both);
  EXPECT_EQ(kept->size(), 8);  // two, and the first six of the others
  expect_same(both, kept);
}

TEST_F(TokenCacheTest, OtherRowsTokenizersAndOptionsHaveOtherFiles) {
  open(source());
  RowEncoderOptions shorter = text();
  shorter.max_length = 5;
  open(source(shorter));
  EXPECT_EQ(files(), 2U);
  open(source(text(), "train[:50%]"));
  EXPECT_EQ(files(), 3U);
  write_rows(100, "{\"text\": \"more\"}\n");
  open(source());
  EXPECT_EQ(files(), 4U);
  fs::create_directories(folder_ / "other");
  fs::copy(golden_path("recipes/base/tokenizer.model"), folder_ / "other");
  TokenSource changed = source();
  changed.encoder = std::make_shared<RowEncoder>(folder_ / "other" / "tokenizer.model", text());
  open(changed);
  EXPECT_EQ(files(), 4U);  // the same content elsewhere
  write_file_atomically(folder_ / "other" / "tokenizer_config.json", "{}");
  open(changed);
  EXPECT_EQ(files(), 5U);

  TokenCacheOptions only = options();
  only.is_only_one = true;
  write_rows(3);
  open_token_cache(source(), only, pool_);
  EXPECT_EQ(files(), 1U);
}

TEST_F(TokenCacheTest, ADamagedFileIsMadeAgain) {
  const TokenSource rows = source();
  const fs::path path = open(rows)->path();
  const std::string whole = read_file(path);
  std::string damaged = whole;
  damaged[40] ^= 1;
  for (const std::string& content : {damaged, whole.substr(0, 200), std::string(), std::string("text")}) {
    write_file_atomically(path, content);
    testing::internal::CaptureStderr();
    const auto kept = open(rows);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_THAT(said, HasSubstr(path.string() + "] expected"));
    EXPECT_THAT(said, HasSubstr("the rows are tokenised again"));
    expect_same(rows, kept);
    EXPECT_EQ(read_file(path), whole);
  }
}

TEST_F(TokenCacheTest, TokensThatTheRowsNoLongerHaveAreMadeAgain) {
  const TokenSource rows = source();
  const auto first = open(rows);
  const std::string whole = read_file(first->path());
  // As another version of the program would have left it: whole, of these rows, with another token.
  const std::string marker = "{\"rows\":";
  const std::string text = whole.substr(whole.find(marker));
  const std::string identity = text.substr(0, text.find_last_of('}', text.size() - 48) + 1);
  TokenFileWriter writer(first->path());
  for (int64_t row = 0; row < rows.rows->size(); ++row) {
    TokenSample sample = rows.sample(row);
    if (row == 0) sample.tokens.back() = 3, sample.labels[sample.labels.size() - 2] = 3;
    writer.add(sample, LabelShift::kByOne);
  }
  writer.finish(identity);
  expect_same(rows, open(rows));
  EXPECT_EQ(read_file(first->path()), whole);
}

TEST_F(TokenCacheTest, BadRowsAreNamedAndCountedAsWithoutIt) {
  write_rows(10, "{\"txt\": 1}\n{\"text\": \"\"}\n");
  const TokenSource rows = source();
  TokenSource cached = source();
  cached.kept = open(rows);
  EXPECT_EQ(cached.lengths(pool_), rows.lengths(pool_));
  EXPECT_EQ(cached.bad_rows->count(), 1);
  EXPECT_EQ(message_of<DataError>([&] { cached.sample(10); }), message_of<DataError>([&] { rows.sample(10); }));
  EXPECT_TRUE(cached.sample(11).tokens.empty());
  EXPECT_THROW(open(source(RowEncoderOptions(), "", {}, 0.2)), DataError);
  EXPECT_EQ(files(), 1U);
}

TEST_F(TokenCacheTest, WaitsForAnotherThatMakesItAndTakesOverFromIt) {
  const TokenSource rows = source();
  const fs::path path = open(rows)->path();
  fs::remove(path);
  auto other = std::make_unique<FileClaim>(path);
  ASSERT_EQ(other->outcome(), FileClaim::Outcome::kMine);
  std::future<std::shared_ptr<const TokenFile>> waiting = std::async(std::launch::async, [&] { return open(rows); });
  EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  other.reset();  // gone without a result
  expect_same(rows, waiting.get());
}

TEST_F(TokenCacheTest, GoesOnWithoutOneWhereNoneCanBeMade) {
  const TokenSource rows = source();
  const fs::path path = open(rows)->path();
  fs::remove(path);
  const FileClaim other(path);
  TokenCacheOptions impatient = options();
  impatient.patience = 0.1;
  testing::internal::CaptureStderr();
  EXPECT_EQ(open_token_cache(rows, impatient, pool_), nullptr);
  TokenCacheOptions nowhere = options();
  nowhere.folder = folder_ / "rows.jsonl";
  EXPECT_EQ(open_token_cache(rows, nowhere, pool_), nullptr);
  set_write_hook_for_testing([](const fs::path& file, size_t) { throw StorageError("[" + file.string() + "] full"); });
  TokenCacheOptions full = options();
  full.name = "full";
  EXPECT_EQ(open_token_cache(rows, full, pool_), nullptr);
  set_write_hook_for_testing({});
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("nothing new in 0.1 s"));
  EXPECT_THAT(said, HasSubstr("full: tokens are not kept"));
}

}  // namespace
}  // namespace millrace
