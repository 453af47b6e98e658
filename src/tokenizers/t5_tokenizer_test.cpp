#include "tokenizers/t5_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/files.h"
#include "base/philox.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes.push_back(static_cast<char>(value | 128));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::string field(int number, const std::string& bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + bytes;
}

std::string piece(const std::string& text, float score, int type = 1) {
  std::string number(4, '\0');
  std::memcpy(number.data(), &score, 4);
  return field(1, field(1, text) + "\x15" + number + "\x18" + varint(static_cast<uint64_t>(type)));
}

// A character map of one entry, "A" becomes "a": root, the node of 'A', its leaf.
std::string lower_a_map() {
  std::vector<uint32_t> units(256, 0x80000000u);
  units[0] = 1 << 10;                       // children at 0 ^ 1
  units[1 ^ 'A'] = 2 << 10 | 1 << 8 | 'A';  // a leaf at (1 ^ 'A') ^ 2
  units[(1 ^ 'A') ^ 2] = 0x80000000u | 0;   // replacement at 0
  std::string blob(4, '\0');
  const uint32_t size = 4 * 256;
  std::memcpy(blob.data(), &size, 4);
  blob.append(reinterpret_cast<const char*>(units.data()), size);
  return blob + std::string("a\0", 2);
}

std::string model(const std::string& map = "") {
  const std::string mark = "\u2581";
  return piece("<pad>", 0, 3) + piece("</s>", 0, 3) + piece("<unk>", 0, 2) + piece(mark, -3) + piece(mark + "a", -2) +
         piece("b", -4) + piece("ab", -1) + piece("a", -2.5f) + piece("<keep>", 0, 4) + field(2, "\x18\x01") +
         field(3, map.empty() ? "" : field(2, map));
}

class T5TokenizerTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = fs::path(testing::TempDir()) /
            (std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + ".model");
  }
  void TearDown() override { fs::remove(path_); }
  std::unique_ptr<Tokenizer> load(const std::string& bytes) {
    FileWriter(path_).write(bytes);
    return load_tokenizer(path_, TokenizerKind::kT5);
  }
  fs::path path_;
};

TEST_F(T5TokenizerTest, TakesTheMostProbableSegmentation) {
  const auto tokenizer = load(model());
  EXPECT_EQ(tokenizer->vocabulary_size(), 109);
  EXPECT_THAT(tokenizer->encode("ab"), ElementsAre(3, 6, 1));  // _ ab (-4) beats _a b (-6)
  EXPECT_THAT(tokenizer->encode(" a  a\u3000"), ElementsAre(4, 4, 1));
  EXPECT_THAT(tokenizer->encode("axyzb"), ElementsAre(4, 2, 5, 1));  // unknown characters are one token
  EXPECT_THAT(tokenizer->encode(""), ElementsAre(1));
}

TEST_F(T5TokenizerTest, EveryBlankCountsWhereItsFileDoesNotSplitAtThem) {
  path_.replace_extension(".json");
  const std::string pieces = R"([["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["\u2581", -3], ["\u2581a", -2], ["b", -4]])";
  const auto load_json = [&](const std::string& pre_tokenizer, const std::string& normalizer) {
    return load(R"({"normalizer": )" + normalizer + R"(, "pre_tokenizer": )" + pre_tokenizer +
                R"(, "model": {"type": "Unigram", "vocab": )" + pieces + "}}");
  };
  const std::string metaspace = R"({"type": "Metaspace"})";
  const auto plain = load_json(metaspace, "null");
  EXPECT_THAT(plain->encode("a  a "), ElementsAre(4, 3, 4, 3, 1));
  EXPECT_THAT(plain->encode("a\tb"), ElementsAre(4, 2, 5, 1));  // a tab is a character like others
  EXPECT_THAT(plain->encode("b </s>"), ElementsAre(3, 5, 3, 1, 1));
  EXPECT_THAT(plain->encode(""), ElementsAre(1));
  const std::string both = R"({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, )" + metaspace + "]}";
  EXPECT_THAT(load_json(both, "null")->encode("a  a "), ElementsAre(4, 4, 1));
  EXPECT_THAT(load_json(metaspace, R"({"type": "Replace"})")->encode("a  a "), ElementsAre(4, 4, 1));
}

TEST_F(T5TokenizerTest, SpecialTokensInTheTextAreTokens) {
  const auto tokenizer = load(model());
  EXPECT_THAT(tokenizer->encode("<extra_id_0> a<extra_id_99>b</s>"), ElementsAre(108, 4, 9, 3, 5, 1, 1));
  EXPECT_THAT(tokenizer->encode("a<keep>"), ElementsAre(4, 8, 1));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a b<extra_id_0><keep>")), "a b<keep>");
}

TEST_F(T5TokenizerTest, CutsAndPads) {
  const auto tokenizer = load(model());
  EXPECT_THAT(tokenizer->encode_padded("a a a a", 3), ElementsAre(4, 4, 1));
  EXPECT_THAT(tokenizer->encode_padded("a", 4), ElementsAre(4, 1, 0, 0));
}

TEST_F(T5TokenizerTest, AppliesTheCharacterMapBeforeTheModel) {
  const auto tokenizer = load(model(lower_a_map()));
  EXPECT_EQ(tokenizer->encode("A Ab"), tokenizer->encode("a ab"));
}

TEST_F(T5TokenizerTest, OtherModelsAreRefused) {
  // A BPE model, of the kind that changes text, and a model of words.
  EXPECT_THAT([&] { load(model() + field(2, "\x18\x02")); }, ThrowsMessage<ModelError>(HasSubstr("normalizes it")));
  EXPECT_THAT([&] { load(model() + field(2, "\x18\x03")); }, ThrowsMessage<ModelError>(HasSubstr("unigram")));
  EXPECT_THAT([&] { load(piece("<unk>", 0, 2)); }, ThrowsMessage<ModelError>(HasSubstr("<pad>")));
  EXPECT_THAT([&] { load("not a model"); }, ThrowsMessage<ModelError>(HasSubstr("damaged")));
  EXPECT_THAT([&] { load(model("xx")); }, ThrowsMessage<ModelError>(HasSubstr("character map")));
}

TEST_F(T5TokenizerTest, MutatedModelsNeverCrash) {
  const std::string good = model(lower_a_map());
  const RandomStream random = random_stream(3, RandomPurpose::kShuffle, 0, 0);
  uint64_t drawn = 0;
  int loaded = 0, refused = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    std::string bad = good;
    for (int change = 0; change < 1 + trial % 4; ++change) {
      char& byte = bad[random_below(random, drawn++, bad.size())];
      byte = static_cast<char>(random_below(random, drawn++, 256));
    }
    if (trial % 5 == 0) bad.resize(random_below(random, drawn++, bad.size()));
    fs::remove(path_);  // replacing a file in place makes the file system wait for the disk
    FileWriter(path_).write(bad);
    try {
      const auto tokenizer = load_tokenizer(path_);
      tokenizer->decode(tokenizer->encode("A ab xyz A\u0301 \U0001F600 <extra_id_5>"));
      ++loaded;
    } catch (const ModelError&) {
      ++refused;
    }
  }
  EXPECT_GT(loaded, 100);
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace millrace
