#include "language/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "language/test_support.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr int64_t kVocabulary = 1000;

class TokenFileTest : public testing::Test {
 protected:
  TokenFileTest() {
    std::string name = (fs::temp_directory_path() / "millrace_tokens_XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~TokenFileTest() override { fs::remove_all(folder_); }

  fs::path path() const { return folder_ / "rows.tokens"; }
  TokenSample row(int64_t number, LabelShift shift) const {
    std::vector<int32_t> tokens;
    std::vector<bool> masked;
    for (int64_t i = 0; i < lengths_[static_cast<size_t>(number)]; ++i) {
      tokens.push_back(static_cast<int32_t>((number * 31 + i * 7) % kVocabulary));
      masked.push_back((number + i) % 3 == 0);
    }
    return labelled(std::move(tokens), masked, shift);
  }
  void write(LabelShift shift) const {
    TokenFileWriter writer(path());
    for (size_t number = 0; number < lengths_.size(); ++number)
      writer.add(row(static_cast<int64_t>(number), shift), shift);
    writer.finish("identity");
  }
  std::string refusal(int64_t vocabulary = kVocabulary, const std::string& identity = "identity") {
    return message_of<DataError>([&] { TokenFile(path(), identity, vocabulary, pool_); });
  }

  fs::path folder_;
  // The third is longer than what has one checksum.
  std::vector<int64_t> lengths_ = {5, 0, 300'001, 1, 70};
  ThreadPool pool_{2};
};

TEST_F(TokenFileTest, GivesBackEveryRow) {
  for (const LabelShift shift : {LabelShift::kNone, LabelShift::kByOne}) {
    write(shift);
    const TokenFile file(path(), "identity", kVocabulary, pool_);
    ASSERT_EQ(file.size(), 5);
    EXPECT_EQ(file.num_tokens(), 300'077);
    for (const int64_t number : {4, 2, 0, 3}) {
      EXPECT_EQ(file.length(number), lengths_[static_cast<size_t>(number)]);
      const TokenSample expected = row(number, shift), found = file.find(number, shift).value();
      EXPECT_EQ(found.tokens, expected.tokens);
      EXPECT_EQ(found.labels, expected.labels);
    }
    EXPECT_FALSE(file.find(1, shift).has_value());
  }
}

TEST_F(TokenFileTest, AnyChangedByteIsFound) {
  write(LabelShift::kByOne);
  const std::string whole = read_file(path());
  const size_t tail = whole.size() - 130;  // everything but the tokens
  for (size_t at = 0; at < whole.size(); at += at < 10 || at >= tail ? 1 : std::min<size_t>(50'000, tail - at)) {
    std::string damaged = whole;
    damaged[at] ^= 0x10;
    std::ofstream(path(), std::ios::binary) << damaged;
    EXPECT_THAT(refusal(), HasSubstr("rows.tokens] expected")) << at;
  }
}

TEST_F(TokenFileTest, WhatIsCutOffIsFound) {
  write(LabelShift::kByOne);
  const std::string whole = read_file(path());
  for (const size_t size : {size_t{0}, size_t{47}, size_t{48}, whole.size() / 2, whole.size() - 1}) {
    write_file_atomically(path(), whole.substr(0, size));
    EXPECT_THAT(refusal(), HasSubstr("rows.tokens] expected")) << size;
  }
  write_file_atomically(path(), whole + whole);
  EXPECT_THAT(refusal(), HasSubstr("bytes, as its end says"));
}

TEST_F(TokenFileTest, OtherRowsAndOtherVocabulariesAreFound) {
  write(LabelShift::kByOne);
  EXPECT_THAT(refusal(kVocabulary, "another"), HasSubstr("expected the tokens of these rows"));
  EXPECT_THAT(refusal(900), HasSubstr("expected ids below 900"));
  EXPECT_EQ(refusal(), "nothing thrown");
}

TEST_F(TokenFileTest, AFileThatIsCutWhileItIsReadGivesNothing) {
  write(LabelShift::kByOne);
  const TokenFile file(path(), "identity", kVocabulary, pool_);
  fs::resize_file(path(), 1'000);
  EXPECT_TRUE(file.find(0, LabelShift::kByOne).has_value());
  EXPECT_FALSE(file.find(4, LabelShift::kByOne).has_value());
}

}  // namespace
}  // namespace millrace
