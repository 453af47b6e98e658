#include "data/shard_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/test_shards.h"

namespace millrace {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

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

// Empty Arrow files would be refused for that.
void write_named(const TestFolder& folder, std::initializer_list<const char*> names) {
  for (const char* name : names) write_file_atomically(folder / name, "x");
}

TEST(ListShards, FilesThatTheNumbersCallForMustBeThere) {
  const TestFolder whole, holed, without_the_last;
  write_named(whole, {"data-00000-of-00002.arrow", "data-00001-of-00002.arrow", "data-val-0-of-1.arrow",
                      "best-of-5.arrow", "cache-1.arrow", "x-1-of-.arrow"});
  EXPECT_EQ(list_shards({whole.string()}).size(), 6);
  write_named(holed, {"train-00000-of-00003.arrow", "train-00002-of-00003.arrow"});
  EXPECT_THAT([&] { list_shards({holed.string()}); },
              ThrowsMessage<DataError>(AllOf(HasSubstr(holed.string()), HasSubstr("3 files named train-*-of-00003"),
                                             HasSubstr("the number 1 "))));
  write_named(without_the_last, {"a-0-of-2.arrow", "b-0-of-1.arrow"});
  EXPECT_THAT([&] { list_shards({without_the_last.string()}); }, ThrowsMessage<DataError>(HasSubstr("named a-*-of-2")));
  EXPECT_EQ(list_shards({holed.string() + "/*"}).size(), 2);  // a pattern means what is there
}

TEST(ListShards, FilesThatStateJsonNamesMustBeThereForAPatternToo) {
  const TestFolder folder;
  write_named(folder, {"data-00000-of-00001.arrow"});
  write_file_atomically(folder / "state.json", R"({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.string());
  for (const std::string& place : {folder.string(), folder.string() + "/*", std::string("*"), std::string("./*")}) {
    EXPECT_EQ(list_shards({place}).size(), 1) << place;
  }
  std::filesystem::current_path(before);
  write_file_atomically(folder / "state.json", R"({"_data_files": [{"filename": "b.arrow"}]})");
  for (const char* pattern : {"", "/*"}) {
    EXPECT_THAT([&] { list_shards({folder.string() + pattern}); }, ThrowsMessage<DataError>(HasSubstr("b.arrow")));
  }
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
