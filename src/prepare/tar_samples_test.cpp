// Tar archives that no writer of this program makes, header by header.
#include "data/tar_samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/tar_shard.h"
#include "data/test_shards.h"
#include "prepare/raw_shard.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string padded(std::string content) {
  content.resize((content.size() + 511) / 512 * 512);
  return content;
}

struct Header {
  std::string name;
  char type = '0';
  uint64_t size = 0;
  bool has_more_map = false;  // of a sparse file
  bool has_signed_sum = false;
};

std::string header(const Header& values) {
  std::string block(512, '\0');
  const auto put = [&](size_t offset, const std::string& text) { block.replace(offset, text.size(), text); };
  char size[16];
  std::snprintf(size, sizeof size, "%011llo", static_cast<unsigned long long>(values.size));
  put(0, values.name.substr(0, 100));
  put(100, "0000644");
  put(124, size);
  put(136, "00000000000");
  put(148, "        ");
  block[156] = values.type;
  put(257, values.type == 'S' ? "ustar  " : "ustar");
  if (values.has_more_map) block[482] = 1;
  int64_t sum = 0;
  for (const char c : block) sum += values.has_signed_sum ? static_cast<signed char>(c) : static_cast<unsigned char>(c);
  std::snprintf(size, sizeof size, "%06llo", static_cast<unsigned long long>(sum));
  put(148, std::string(size) + '\0');
  return block;
}

std::string member(const std::string& name, const std::string& content, char type = '0') {
  return header({name, type, content.size()}) + padded(content);
}
std::string sample(const std::string& key) {
  return member(key + ".png", numbered_png(1)) + member(key + ".txt", "a caption");
}
std::string pax(const std::string& records) {
  return member("PaxHeaders/x", records, 'x');
}
std::string record(const std::string& key, const std::string& value) {
  size_t length = key.size() + value.size() + 3;
  length += std::to_string(length + std::to_string(length).size()).size();
  return std::to_string(length) + " " + key + "=" + value + "\n";
}
const std::string kEnd(1024, '\0');

struct Odd {
  const char* what;
  std::string members;      // between two sound samples, or around them
  std::string problem;      // of the odd sample; empty: there is none, the sample is sound
  std::string key = "odd";  // printable
  size_t num_odd = 1;
};

std::vector<Odd> odd_samples() {
  const std::string picture = numbered_png(1), txt = member("odd.txt", "c"), png = member("odd.png", picture);
  const std::string long_name(200, 'n');
  return {
      {"Latin-1", sample("caf\xe9"), "in UTF-8, got caf\\xe9.png", "caf\\xe9"},
      {"Latin-1 in a folder", sample("d\xe9p/1"), "in UTF-8", "d\\xe9p/1"},
      {"Latin-1 in an extension", png + txt + member("odd.t\xe9", "c"), "in UTF-8"},
      {"Latin-1 in a pax path", pax(record("path", "f\xfc.png")) + member("x", picture), "in UTF-8", "f\\xfc"},
      {"Latin-1 in a GNU long name", member("././@LongLink", "l\xf6ng.png", 'L') + member("x", picture), "in UTF-8",
       "l\\xf6ng"},
      {"an absolute path", sample("/abs/1"), "relative names, got /abs/1.png", "/abs/1"},
      {"a path that leads up", sample("../up"), "without .., got ../up.png", "../up"},
      {"a path that leads up within", sample("a/../b"), "without ..", "a/../b"},
      {"a picture twice", png + txt + png, "each extension once, got two png"},
      {"a caption twice, in other letters", png + txt + member("odd.TXT", "d"), "got two TXT"},
      {"a file that is not read, twice", png + txt + member("odd.seg", "") + member("odd.seg", ""), "got two seg"},
      {"a hard link", header({"odd.png", '1'}) + txt, "plain files, got a hard link, odd.png"},
      {"a hard link with its target's size", header({"odd.png", '1', 5000}) + txt, "got a hard link"},
      {"a symbolic link", png + header({"odd.txt", '2'}), "got a symbolic link"},
      {"a pipe", png + txt + header({"odd.json", '6'}), "got a device, a pipe"},
      {"a file from another volume", member("odd.png", picture, 'M') + txt, "the rest of a file"},
      {"an old sparse file", member("odd.png", picture, 'S') + txt, "got a sparse file"},
      {"an old sparse file with a long map",
       header({"odd.png", 'S', 600, true}) + std::string(512, '\0') + padded(std::string(600, 'x')) + txt,
       "got a sparse file"},
      {"a new sparse file",
       pax(record("GNU.sparse.major", "1") + record("GNU.sparse.name", "odd.png")) +
           member("GNUSparseFile.0/odd.png", picture) + txt,
       "got a sparse file"},
      {"a damaged pax header", pax("99 path=x\n") + member("odd.png", picture) + txt, "a damaged pax header"},
      {"a damaged pax size", pax(record("size", "12x")) + member("odd.png", picture) + txt, "a damaged pax header"},
      {"an empty name", member("", "content"), "a name for every file", ""},
      {"an empty name within a sample", png + member("", "content") + txt, "a name for every file", ""},
      // Sound ones.
      {"a pax path",
       pax(record("path", long_name + ".png")) + member("x", picture) + pax(record("path", long_name + ".txt")) +
           member("x", "c"),
       "", long_name},
      {"a global pax header", member("g", record("comment", "made by git"), 'g') + png + txt, ""},
      {"folders with sizes", header({"odd/", '5', 4096}) + png + txt, ""},
      {"a volume's label", header({"odd.label", 'V'}) + png + txt, ""},
      {"a leading ./", sample("./odd"), "", "./odd"},
      {"several dots in a name", member("odd.png", picture) + txt + member("odd.x..y", ""), ""},
      {"png and jpg of one picture", png + member("odd.jpg", "J") + txt, ""},
      {"a member without a dot", png + txt + member("READ\xcdME", "x"), ""},
      {"what macOS leaves", member("._odd.png", "x") + png + member("._odd.txt", "x") + txt, ""},
      {"a sum of signed bytes",
       header({"\xc3\xb6.png", '0', picture.size(), false, true}) + padded(picture) + member("\xc3\xb6.txt", "c"), "",
       "\xc3\xb6"},
  };
}

ShardFile write_shard(const TestFolder& folder, const std::string& content) {
  write_file_atomically(folder / "a.tar", content);
  return {folder / "a.tar", "a.tar", content.size()};
}

// One odd sample is one bad sample, in what training reads and in what `prepare clean` reads; its neighbours are sound.
TEST(OddMembers, AreOneBadSampleWithAReason) {
  const TestFolder folder;
  const PictureDecoder decoder({});
  for (const Odd& odd : odd_samples()) {
    SCOPED_TRACE(odd.what);
    const ShardFile file = write_shard(folder, sample("before") + odd.members + sample("later") + kEnd);
    const TarShard shard(file);
    EXPECT_EQ(shard.damage(), "");
    ASSERT_EQ(shard.size(), odd.what == std::string("an empty name within a sample") ? 4u : 3u);
    const RawShard raw(file);
    EXPECT_EQ(raw.damage(), "");
    ASSERT_EQ(raw.entries().size(), shard.size());
    size_t num_odd = 0;
    for (size_t i = 0; i < shard.size(); ++i) {
      EXPECT_EQ(raw.entries()[i].problem, shard.problem(i));
      EXPECT_EQ(raw.entries()[i].key, shard.key(i));
      const CheckedSample checked = decoder.check(shard, i);
      if (shard.problem(i).empty()) continue;
      ++num_odd;
      EXPECT_THAT(shard.problem(i), HasSubstr(odd.problem));
      EXPECT_EQ(checked.verdict, CheckedSample::Verdict::kBad);
      EXPECT_EQ(checked.problem, "[" + (folder / "a.tar").string() + ": " + odd.key + "] " + shard.problem(i));
    }
    EXPECT_EQ(num_odd, odd.problem.empty() ? 0u : 1u);
    if (odd.problem.empty()) {
      EXPECT_EQ(shard.key(1), odd.key);
      EXPECT_TRUE(shard.field_size(1, SampleField::kPicture) && shard.field_size(1, SampleField::kCaption));
    }
  }
}

TEST(OddMembers, FilesThatLieApartAreNamedWithTheWayOut) {
  const std::string png = numbered_png(1);
  struct Apart {
    std::string members;
    std::string problem;
    size_t num_problems, num_samples;
  };
  const Apart cases[] = {
      {member("1.png", png) + member("2.png", png) + member("1.txt", "a") + member("2.txt", "b"), "tar --sort=name", 4,
       4},
      {sample("1") + sample("2") + member("1.json", "{}"), "tar --sort=name", 2, 3},
      {sample("1") + sample("2") + sample("1"), "each extension once, got two png", 2, 3},
      {sample("a/1") + sample("b/1"), "", 0, 2},
  };
  const TestFolder folder;
  for (const Apart& apart : cases) {
    const TarShard shard(write_shard(folder, apart.members + kEnd));
    ASSERT_EQ(shard.size(), apart.num_samples);
    size_t num_problems = 0;
    for (size_t i = 0; i < shard.size(); ++i) {
      if (shard.problem(i).empty()) continue;
      ++num_problems;
      EXPECT_THAT(shard.problem(i), HasSubstr(apart.problem));
    }
    EXPECT_EQ(num_problems, apart.num_problems);
  }
}

// What lies behind the end of an archive is not read, but not lost in silence either.
TEST(EndOfArchive, WhatIsMissingOrTooMuchIsDamage) {
  const std::string one = sample("1"), two = sample("2");
  const std::tuple<const char*, std::string, const char*> cases[] = {
      {"whole", one + kEnd, ""},
      {"padded as GNU tar does", one + std::string(10240, '\0'), ""},
      {"padded by more", one + std::string(100'000, '\0'), ""},
      {"a lone zero block", one + std::string(512, '\0'), ""},
      {"empty", std::string(10240, '\0'), ""},
      {"joined by cat", one + kEnd + two + kEnd, "more behind the end mark"},
      {"joined with padding", one + std::string(40'000 / 512 * 512, '\0') + two + kEnd, "more behind the end mark"},
      {"joined askew", one + kEnd + "x" + two + kEnd, "more behind the end mark"},
      {"no end mark", one, "the end mark is missing"},
      {"cut in a header", one + two.substr(0, 100), "ends early"},
      {"cut in the first content", one.substr(0, 600), "ends early"},
      {"a damaged header", one + std::string(512, 'x') + kEnd, "a wrong checksum"},
  };
  const TestFolder folder;
  for (const auto& [what, content, damage] : cases) {
    SCOPED_TRACE(what);
    const ShardFile file = write_shard(folder, content);
    const TarShard shard(file);
    EXPECT_THAT(shard.damage(), HasSubstr(damage));
    EXPECT_EQ(shard.damage().empty(), std::string(damage).empty());
    EXPECT_EQ(RawShard(file).damage(), shard.damage());
  }
}

}  // namespace
}  // namespace millrace
