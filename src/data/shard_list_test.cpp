#include "data/shard_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/expand_braces.h"
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
  EXPECT_THAT([&] { list_shards({folder.string() + "/a-{0..1}.tar"}); },
              ThrowsMessage<DataError>(HasSubstr("a-0.tar] expected tar shards or Arrow files, got no such file")));
  EXPECT_THAT([&] { list_shards({folder.string() + "/file/below"}); }, ThrowsMessage<DataError>(HasSubstr("below]")));
  std::filesystem::create_symlink("gone", folder / "link.tar");
  EXPECT_THAT([&] { list_shards({(folder / "link.tar").string()}); },
              ThrowsMessage<DataError>(HasSubstr("link.tar] expected tar shards or Arrow files, got a dangling link")));
  EXPECT_THAT([&] { list_shards({folder.string()}); },
              ThrowsMessage<DataError>(HasSubstr("link.tar (a dangling link)")));
  write_file_atomically(folder / "a.parquet", "x");
  EXPECT_THAT([&] { list_shards({folder.string()}); }, ThrowsMessage<DataError>(HasSubstr("a.parquet")));
}

TEST(ListShards, FilesThatAreNoneAreListedWithTheirProblem) {
  const TestFolder folder;
  write_tar(folder / "a.tar", {});
  write_file_atomically(folder / "b.tar", "");
  const std::vector<ShardFile> shards = list_shards({folder.string()});
  ASSERT_EQ(shards.size(), 2u);
  EXPECT_EQ(shards[0].problem, "");
  EXPECT_EQ(shards[1].problem, "expected a tar archive, got an empty file");
}

// What a text finds in one folder that has everything in it, links and foreign files included.
TEST(ListShards, PatternsAndFoldersFindTheSame) {
  const TestFolder folder, disk;
  for (const char* name : {"data/a.tar", "data/x/b.tar", "data/x/y/c.tar", "data/.hidden.tar", "data/.h/d.tar",
                           "data/x/._b.tar", "data/e.tar.gz", "data/readme.md", "data/x/part-0"}) {
    create_folders((folder / name).parent_path());
    write_file_atomically(folder / name, "x");
  }
  write_file_atomically(disk / "z.tar", "x");
  std::filesystem::create_symlink(disk.string(), folder / "data/linked");
  std::filesystem::create_symlink("..", folder / "data/x/up");
  std::filesystem::create_symlink("gone", folder / "data/gone.tar");
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"data", {"a.tar", "linked/z.tar", "x/b.tar", "x/y/c.tar"}},
      {"data/**", {"a.tar", "linked/z.tar", "x/b.tar", "x/y/c.tar"}},
      {"data/**/*.tar", {"a.tar", "linked/z.tar", "x/b.tar", "x/y/c.tar"}},
      {"**/x/**/*.tar", {"b.tar", "y/c.tar"}},
      {"data/**/y/*.tar", {"c.tar"}},
      {"data/*/*.tar", {"linked/z.tar", "x/b.tar"}},
      {"data/*.tar", {"a.tar"}},
      {"data/*", {"a.tar"}},          // and not the folders beside it
      {"data/x/*", {"b.tar"}},        // nor part-0
      {"data/x/part-*", {"part-0"}},  // unless nothing else is meant
      {"dat*", {"a.tar", "linked/z.tar", "x/b.tar", "x/y/c.tar"}},
      {"data/.hidden.tar", {".hidden.tar"}},
      {"data/.h", {"d.tar"}},
      {"data/.h/*", {"d.tar"}},
      {"data/.h*.tar", {".hidden.tar"}},
      {"data/linked", {"z.tar"}},
      {"data/{a,x/b}.tar", {"a.tar", "x/b.tar"}},
  };
  for (const auto& [text, found] : cases) {
    SCOPED_TRACE(text);
    EXPECT_EQ(names(list_shards({folder.string() + "/" + text})), found);
  }
}

TEST(ListShards, ArrowFilesGoBeforeTarsBesideThem) {
  const TestFolder folder;
  for (const char* name : {"a.tar", "b.arrow", "._c.arrow"}) write_file_atomically(folder / name, "x");
  EXPECT_THAT(names(list_shards({folder.string()})), ElementsAre("b.arrow"));
  EXPECT_THAT(names(list_shards({folder.string() + "/*"})), ElementsAre("b.arrow"));
  EXPECT_THAT(names(list_shards({folder.string() + "/*.tar"})), ElementsAre("a.tar"));
  std::filesystem::remove(folder / "b.arrow");
  EXPECT_THAT(names(list_shards({folder.string()})), ElementsAre("a.tar"));
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
