#include "tokenizers/clip_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/files.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

void write_file(const fs::path& path, const std::string& content) {
  FileWriter(path).write(content);
}

// 256 symbols, 256 that end a word, then the merges c+a, ca+t</w>: "cat" is 513.
class ClipTokenizerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::create_directories(folder_);
    write_file(folder_ / "merges.txt", "#version: 0.2\nc a\nca t</w>\n");
    nlohmann::json vocabulary;
    int32_t next = 0;
    for (const char* end : {"", "</w>"}) {
      for (const uint8_t byte : byte_order()) vocabulary[byte_symbols()[byte] + end] = next++;
    }
    for (const char* token : {"ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"}) vocabulary[token] = next++;
    write_file(folder_ / "vocab.json", vocabulary.dump());
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
};

constexpr int32_t kCat = 513, kBos = 514, kEos = 515;

TEST_F(ClipTokenizerTest, JoinsByRankAndSurroundsWithSpecialIds) {
  const auto tokenizer = load_tokenizer(folder_);
  EXPECT_EQ(tokenizer->vocabulary_size(), 516);
  EXPECT_THAT(tokenizer->encode("Cat  cat"), ElementsAre(kBos, kCat, kCat, kEos));
  EXPECT_THAT(tokenizer->encode(""), ElementsAre(kBos, kEos));
  EXPECT_THAT(tokenizer->encode("cat<|endoftext|>cat"), ElementsAre(kBos, kCat, kEos, kCat, kEos));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("A cat, naïve")), "a cat , naïve");
}

TEST_F(ClipTokenizerTest, CutsBeforeTheEndAndPadsBehindIt) {
  const auto tokenizer = load_tokenizer(folder_, TokenizerKind::kClip);
  EXPECT_THAT(tokenizer->encode_padded("cat cat cat", 4), ElementsAre(kBos, kCat, kCat, kEos));
  EXPECT_THAT(tokenizer->encode_padded("cat", 5), ElementsAre(kBos, kCat, kEos, kEos, kEos));
  EXPECT_THAT(tokenizer->encode_truncated("cat", 5), ElementsAre(kBos, kCat, kEos));
  EXPECT_THROW(tokenizer->encode_padded("cat", 1), ConfigError);
}

TEST_F(ClipTokenizerTest, OpenClipFileGivesTheSameIds) {
  const fs::path path = folder_ / "merges.txt.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  gzputs(file, "header\nc a\nca t</w>\n");
  gzclose(file);
  EXPECT_EQ(load_tokenizer(path)->encode("a cat's"), load_tokenizer(folder_)->encode("a cat's"));
}

TEST_F(ClipTokenizerTest, IllFormedTextIsADataErrorWithItsPlace) {
  const auto tokenizer = load_tokenizer(folder_);
  EXPECT_THAT([&] { tokenizer->encode("cat \xff"); }, ThrowsMessage<DataError>(HasSubstr("byte 4")));
}

TEST_F(ClipTokenizerTest, DamagedFilesAreNamedWithTheLine) {
  const auto load_with = [&](const char* name, const std::string& content) {
    write_file(folder_ / name, content);
    return [this] { load_tokenizer(folder_); };
  };
  EXPECT_THAT(load_with("merges.txt", "#version: 0.2\nc a\nca\n"),
              ThrowsMessage<ModelError>(HasSubstr("merges.txt:3] expected two symbols")));
  EXPECT_THAT(load_with("merges.txt", "#version: 0.2\nd o\n"),
              ThrowsMessage<ModelError>(HasSubstr("merges.txt:2] expected a merge of tokens in the vocabulary")));
  EXPECT_THAT(load_with("merges.txt", "a \xff\n"), ThrowsMessage<ModelError>(HasSubstr("merges.txt:1]")));
  EXPECT_THAT(load_with("vocab.json", "{\"a\": -1}"), ThrowsMessage<ModelError>(HasSubstr("expected an id from 0")));
  EXPECT_THAT(load_with("vocab.json", "{\"a\": 99999999}"), ThrowsMessage<ModelError>(HasSubstr("expected an id")));
  EXPECT_THAT(load_with("vocab.json", "{\"a\": 1"), ThrowsMessage<ModelError>(HasSubstr("expected JSON")));
  write_file(folder_ / "merges.txt", "");
  EXPECT_THAT(load_with("vocab.json", "{\"a\": 1}"), ThrowsMessage<ModelError>(HasSubstr("<|startoftext|>")));
  EXPECT_THAT(load_with("tokenizer.json", R"({"model": {"type": "BPE", "vocab": {}, "merges": []}})"),
              ThrowsMessage<ModelError>(HasSubstr("</w>")));
  EXPECT_THAT(load_with("tokenizer.json", R"({"model": {"type": "WordPiece"}})"),
              ThrowsMessage<ModelError>(HasSubstr("WordPiece")));
}

TEST_F(ClipTokenizerTest, AGzipBombIsRefused) {
  const fs::path path = folder_ / "bomb.txt.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  const std::string zeros(1 << 20, 'a');
  for (int i = 0; i < 65; ++i) gzwrite(file, zeros.data(), static_cast<unsigned>(zeros.size()));
  gzclose(file);
  EXPECT_THAT([&] { load_tokenizer(path); }, ThrowsMessage<ModelError>(HasSubstr("expected at most 64.00 MiB")));
  std::string packed = read_file(path);
  write_file(path, packed.substr(0, packed.size() / 2));
  EXPECT_THROW(load_tokenizer(path), ModelError);
}

TEST_F(ClipTokenizerTest, ManyThreadsShareOneTokenizer) {
  const auto tokenizer = load_tokenizer(folder_);
  const std::vector<int32_t> expected = tokenizer->encode("the cat's naïve 日本 cat");
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) wrong += tokenizer->encode("the cat's naïve 日本 cat") != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ClipWords, AreCutAsTheExpressionSays) {
  const auto words = [](const std::string& text) {
    std::vector<std::string> found;
    for (size_t at = 0; at < text.size();) {
      size_t skip = 0;
      const size_t length = clip_word_length(text, at, &skip);
      if (length > 0) found.push_back(text.substr(at, length));
      at += length + skip;
    }
    return found;
  };
  EXPECT_THAT(words("it's 12 o'clock!?"), ElementsAre("it", "'s", "1", "2", "o", "'", "clock", "!?"));
  EXPECT_THAT(words("you'll 'sam ''s"), ElementsAre("you", "'ll", "'s", "am", "''", "s"));
  EXPECT_THAT(words("日本\u3000é½"), ElementsAre("日本", "é", "½"));
  EXPECT_THAT(words("<|endoftext|>!"), ElementsAre("<|endoftext|>", "!"));
}

}  // namespace
}  // namespace millrace
