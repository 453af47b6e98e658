#include "data/shard_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/philox.h"
#include "data/test_shards.h"
#include "formats/tar.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;

ShardFile shard_file(const std::filesystem::path& path) {
  return {path, path.filename().string(), std::filesystem::file_size(path)};
}

std::string read(const ShardIndex& index, const Extent& extent) {
  std::string content;
  index.read(extent, 1 << 20, 1 << 20, content);
  return content;
}

TEST(ShardIndex, GroupsByKeyAsWebdataset) {
  const TestFolder folder;
  write_tar(folder / "a.tar", {{"dir.v1/0001.jpg", "J"},
                               {"dir.v1/0001.png", "P"},
                               {"dir.v1/0001.seg.png", "S"},
                               {"dir.v1/0001.TXT", "T"},
                               {"dir.v1/0002.webp", "W"},
                               {"dir.v1/0002.json", "{}"},
                               {"README", "no extension"},
                               {"dir.v1/.hidden.png", "no key"},
                               {"0002.jpeg", "E"},
                               {"0002.caption", "C"}});
  const ShardIndex index(shard_file(folder / "a.tar"));
  ASSERT_EQ(index.samples().size(), 3u);
  const SampleEntry& first = index.samples()[0];
  EXPECT_EQ(first.key, "dir.v1/0001");
  EXPECT_EQ(read(index, first.picture), "P");  // png before jpg; seg.png is another thing
  EXPECT_EQ(read(index, first.caption), "T");
  EXPECT_FALSE(first.json.exists());
  EXPECT_EQ(read(index, index.samples()[1].picture), "W");
  EXPECT_EQ(read(index, index.samples()[1].json), "{}");
  EXPECT_FALSE(index.samples()[1].caption.exists());
  EXPECT_EQ(index.samples()[2].key, "0002");
  EXPECT_EQ(read(index, index.samples()[2].caption), "C");
  EXPECT_NE(index.sample_id(1), index.sample_id(2));
  EXPECT_TRUE(index.damage().empty());
}

TEST(ShardIndex, LongNamesAreRead) {
  const TestFolder folder;
  const std::string name(180, 'x'), longer(400, 'y');
  write_tar(folder / "a.tar", {{name + ".txt", "A"}, {longer + ".txt", "B"}, {"c.txt", "C"}});
  const ShardIndex index(shard_file(folder / "a.tar"));
  ASSERT_EQ(index.samples().size(), 3u);
  EXPECT_EQ(index.samples()[0].key, name);
  EXPECT_EQ(index.samples()[1].key, longer);
  EXPECT_EQ(index.samples()[2].key, "c");
  EXPECT_EQ(read(index, index.samples()[1].caption), "B");
}

TEST(ShardIndex, ATarCutShortKeepsItsHead) {
  const TestFolder folder;
  write_tar(folder / "a.tar", numbered_samples(0, 5));
  std::filesystem::resize_file(folder / "a.tar", std::filesystem::file_size(folder / "a.tar") / 2);
  const ShardIndex index(shard_file(folder / "a.tar"));
  EXPECT_THAT(index.damage(), HasSubstr("ends early"));
  ASSERT_GE(index.samples().size(), 3u);
  EXPECT_TRUE(index.is_damage(index.samples().size() - 1));
  EXPECT_FALSE(index.is_damage(0));
}

TEST(ShardIndex, WhatIsNoTarIsRefused) {
  const TestFolder folder;
  write_file_atomically(folder / "a.tar", std::string(5000, 'x'));
  write_file_atomically(folder / "b.tar", "short");
  EXPECT_THROW(ShardIndex(shard_file(folder / "a.tar")), DataError);
  EXPECT_THROW(ShardIndex(shard_file(folder / "b.tar")), DataError);
}

// Run under ASan too. Whatever the bytes, an index whose pieces lie in the file, or a DataError.
TEST(ShardIndex, MutatedTarsNeverCrash) {
  const TestFolder folder;
  write_tar(folder / "a.tar", numbered_samples(0, 4));
  const std::string whole = read_file(folder / "a.tar");
  const RandomStream random = random_stream(2, RandomPurpose::kNoise, 0, 0);
  uint64_t draw = 0;
  int read_back = 0, damaged = 0;
  const int descriptor = ::memfd_create("mutated.tar", 0);  // on a disk, 1000 rewritten files take half a minute
  ASSERT_GE(descriptor, 0);
  const std::filesystem::path path = "/proc/self/fd/" + std::to_string(descriptor);
  for (int round = 0; round < 1000; ++round) {
    std::string content = whole;
    for (int i = 0; i < 3; ++i) {
      // Headers are where it hurts.
      const uint64_t block = random_below(random, draw++, content.size() / 512);
      const uint64_t within = random_below(random, draw++, 512);
      content[block * 512 + within] = static_cast<char>(random_below(random, draw++, 256));
    }
    if (round % 7 == 0) content.resize(random_below(random, draw++, content.size()));
    ASSERT_EQ(::ftruncate(descriptor, 0), 0);
    ASSERT_EQ(::pwrite(descriptor, content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    try {
      const ShardIndex index({path, "mutated.tar", content.size()});
      for (const SampleEntry& sample : index.samples()) {
        for (const Extent& extent : {sample.picture, sample.caption, sample.json}) {
          ASSERT_LE(extent.offset + extent.size, content.size());
        }
      }
      ++(index.damage().empty() ? read_back : damaged);
    } catch (const DataError&) {
      ++damaged;
    }
  }
  ::close(descriptor);
  EXPECT_GT(read_back, 50);
  EXPECT_GT(damaged, 50);
}

}  // namespace
}  // namespace millrace
