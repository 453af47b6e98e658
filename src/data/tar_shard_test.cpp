#include "data/tar_shard.h"

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

std::string read(const TarShard& shard, size_t sample, SampleField field) {
  std::string content;
  shard.view(sample, field, 1 << 20, 1 << 20, content);
  return content;
}

TEST(TarShard, GroupsByKeyAsWebdataset) {
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
  const TarShard shard(shard_file(folder / "a.tar"));
  ASSERT_EQ(shard.size(), 3u);
  EXPECT_EQ(shard.key(0), "dir.v1/0001");
  EXPECT_EQ(read(shard, 0, SampleField::kPicture), "P");  // png before jpg; seg.png is another thing
  EXPECT_EQ(read(shard, 0, SampleField::kCaption), "T");
  EXPECT_FALSE(shard.field_size(0, SampleField::kJson));
  EXPECT_EQ(read(shard, 1, SampleField::kPicture), "W");
  EXPECT_EQ(read(shard, 1, SampleField::kJson), "{}");
  EXPECT_FALSE(shard.field_size(1, SampleField::kCaption));
  EXPECT_EQ(shard.key(2), "0002");
  EXPECT_EQ(read(shard, 2, SampleField::kCaption), "C");
  EXPECT_NE(shard.sample_id(1), shard.sample_id(2));
  EXPECT_TRUE(shard.damage().empty());
}

TEST(TarShard, TimestepsComeFromTheJson) {
  const TestFolder folder;
  write_tar(folder / "a.tar", {{"1.json", "{\"timestep\": 7, \"caption\": \"c\"}"},
                               {"2.json", "{\"timestep\": null}"},
                               {"3.txt", "T"},
                               {"4.json", "{\"timestep\": \"two\"}"}});
  const TarShard shard(shard_file(folder / "a.tar"));
  EXPECT_EQ(shard.timestep(0), 7);
  EXPECT_EQ(shard.timestep(1), std::nullopt);
  EXPECT_EQ(shard.timestep(2), std::nullopt);
  EXPECT_THROW(shard.timestep(3), DataError);
}

TEST(TarShard, LongNamesAreRead) {
  const TestFolder folder;
  const std::string name(180, 'x'), longer(400, 'y');
  write_tar(folder / "a.tar", {{name + ".txt", "A"}, {longer + ".txt", "B"}, {"c.txt", "C"}});
  const TarShard shard(shard_file(folder / "a.tar"));
  ASSERT_EQ(shard.size(), 3u);
  EXPECT_EQ(shard.key(0), name);
  EXPECT_EQ(shard.key(1), longer);
  EXPECT_EQ(shard.key(2), "c");
  EXPECT_EQ(read(shard, 1, SampleField::kCaption), "B");
}

TEST(TarShard, ATarCutShortKeepsItsHead) {
  const TestFolder folder;
  write_tar(folder / "a.tar", numbered_samples(0, 5));
  std::filesystem::resize_file(folder / "a.tar", std::filesystem::file_size(folder / "a.tar") / 2);
  const TarShard shard(shard_file(folder / "a.tar"));
  EXPECT_THAT(shard.damage(), HasSubstr("ends early"));
  ASSERT_GE(shard.size(), 3u);
  EXPECT_TRUE(shard.is_damage(shard.size() - 1));
  EXPECT_FALSE(shard.is_damage(0));
}

TEST(TarShard, WhatIsNoTarIsRefused) {
  const TestFolder folder;
  write_file_atomically(folder / "a.tar", std::string(5000, 'x'));
  write_file_atomically(folder / "b.tar", "short");
  EXPECT_THROW(TarShard(shard_file(folder / "a.tar")), DataError);
  EXPECT_THROW(TarShard(shard_file(folder / "b.tar")), DataError);
}

// Run under ASan too. Whatever the bytes, an index whose pieces lie in the file, or a DataError.
TEST(TarShard, MutatedTarsNeverCrash) {
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
      const TarShard shard({path, "mutated.tar", content.size()});
      for (size_t sample = 0; sample < shard.size(); ++sample) {
        for (const SampleField field : {SampleField::kPicture, SampleField::kCaption, SampleField::kJson}) {
          const TarShard::Extent& extent = shard.extent(sample, field);
          ASSERT_LE(extent.offset + extent.size, content.size());
        }
      }
      ++(shard.damage().empty() ? read_back : damaged);
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
