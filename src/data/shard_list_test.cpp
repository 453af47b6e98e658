#include "data/shard_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/test_shards.h"

namespace millrace {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> names(const std::vector<ShardFile>& shards) {
  std::vector<std::string> result;
  for (const ShardFile& shard : shards) result.push_back(shard.name);
  return result;
}

TEST(ExpandBraces, RangesKeepZerosAndListsMultiply) {
  EXPECT_THAT(expand_braces("a-{08..10}.tar"), ElementsAre("a-08.tar", "a-09.tar", "a-10.tar"));
  EXPECT_THAT(expand_braces("{a,b}{1..2}"), ElementsAre("a1", "a2", "b1", "b2"));
  EXPECT_THAT(expand_braces("plain.tar"), ElementsAre("plain.tar"));
  EXPECT_THROW(expand_braces("{3..1}"), DataError);
  EXPECT_THROW(expand_braces("{x}"), DataError);
  EXPECT_THROW(expand_braces("{1..2"), DataError);
  EXPECT_THROW(expand_braces("{0..999999999}"), DataError);
  EXPECT_THROW(expand_braces("{0..9999}{0..9999}"), DataError);
}

TEST(ListShards, TakesFilesGlobsRangesAndFolders) {
  const TestFolder folder;
  std::filesystem::create_directories(folder / "b");
  for (const char* name : {"a-0.tar", "a-1.tar", "a-2.tar", "b/c.tar", "note.txt"}) write_tar(folder / name, {});
  EXPECT_THAT(names(list_shards({folder.string()})), ElementsAre("a-0.tar", "a-1.tar", "a-2.tar", "b/c.tar"));
  EXPECT_THAT(names(list_shards({folder.string() + "/a-*.tar"})), ElementsAre("a-0.tar", "a-1.tar", "a-2.tar"));
  EXPECT_THAT(names(list_shards({folder.string() + "/a-{1..2}.tar"})), ElementsAre("a-1.tar", "a-2.tar"));
  EXPECT_THAT(names(list_shards({(folder / "a-1.tar").string()})), ElementsAre("a-1.tar"));
  // In the order given, each once.
  EXPECT_THAT(names(list_shards({(folder / "b").string(), folder.string()})),
              ElementsAre("b/c.tar", "a-0.tar", "a-1.tar", "a-2.tar"));
}

TEST(ListShards, WhatIsMissingIsNamed) {
  const TestFolder folder;
  EXPECT_THROW(list_shards({}), DataError);
  EXPECT_THROW(list_shards({folder.string()}), DataError);
  EXPECT_THROW(list_shards({(folder / "no.tar").string()}), DataError);
  EXPECT_THROW(list_shards({folder.string() + "/*.tar"}), DataError);
  write_file_atomically(folder / "empty.tar", "");
  EXPECT_THROW(list_shards({folder.string()}), DataError);
}

TEST(ListShards, TheFingerprintIsOfNamesAndSizesNotOfThePlace) {
  const TestFolder here, there;
  write_shards(here, {3, 4});
  write_shards(there, {3, 4});
  EXPECT_EQ(fingerprint(list_shards({here.string()})), fingerprint(list_shards({there.string()})));
  write_shards(there, {3, 5});
  EXPECT_NE(fingerprint(list_shards({here.string()})), fingerprint(list_shards({there.string()})));
}

}  // namespace
}  // namespace millrace
