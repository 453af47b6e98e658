#include "data/lost_shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/test_shards.h"
#include "prepare/raw_shard.h"

namespace millrace {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Lost {
  const char* name;
  std::string content;
  const char* problem;
};

TEST(LostShards, AreFoundFromTheirBeginning) {
  const TestFolder folder;
  write_tar(folder / "whole.tar", numbered_samples(0, 3));
  const std::string whole = read_file(folder / "whole.tar");
  const Lost cases[] = {
      {"html.tar", "<html><body>403 Forbidden</body></html>\n", "expected a tar archive, got a page of HTML"},
      {"long_html.tar", "\n <!DOCTYPE html>" + std::string(5000, 'x'), "got a page of HTML"},
      {"json.tar", "{\"error\": \"quota\"}", "got JSON"},
      {"lfs.tar", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "try git lfs pull"},
      {"gz.tar", "\x1f\x8b\x08" + std::string(2000, 'z'), "compressed by gzip (try gunzip)"},
      {"zst.tar", "\x28\xb5\x2f\xfd" + std::string(2000, 'z'), "compressed by zstd"},
      {"xz.tar",
       std::string("\xfd"
                   "7zXZ\0",
                   6) +
           std::string(2000, 'z'),
       "compressed by xz"},
      {"zip.tar", "PK\x03\x04" + std::string(2000, 'z'), "a zip archive"},
      {"arrow.tar", "ARROW1" + std::string(2000, '\0'), "got an Arrow file"},
      {"empty.tar", "", "got an empty file"},
      {"tiny.tar", whole.substr(0, 300), "expected a tar archive, got the file ends early"},
      {"one_block.tar", whole.substr(0, 512), "expected a whole file, got the file ends early"},
      {"cut.tar", whole.substr(0, 540), "expected a whole file, got the file ends early"},
      {"zeros.tar", std::string(2 << 20, '\0'), "nothing but zeros"},
      {"noise.tar", std::string(5000, 'x'), "a wrong checksum"},
      {"html.arrow", "<html>" + std::string(5000, 'x'), "expected"},
      {"empty.arrow", "", "expected an Arrow file, got an empty file"},
  };
  for (const Lost& lost : cases) {
    SCOPED_TRACE(lost.name);
    write_file_atomically(folder / lost.name, lost.content);
    ShardFile file = list_shards({(folder / lost.name).string()}).front();
    file.problem = find_lost(file);
    EXPECT_THAT(file.problem, StartsWith("expected "));
    EXPECT_THAT(file.problem, HasSubstr(lost.problem));
    // Once it is known, the file counts as one bad sample.
    const auto shard = open_shard(file);
    ASSERT_EQ(shard->size(), 1u);
    EXPECT_TRUE(shard->is_damage(0));
    EXPECT_EQ(PictureDecoder({}).check(*shard, 0).problem, "[" + file.path.string() + "] " + file.problem);
    if (file.kind == ShardKind::kTar) {
      EXPECT_EQ(RawShard(file).damage(), file.problem);
    }
  }
  for (const char* name : {"whole.tar", "none.tar", "cut_later.tar"}) {
    SCOPED_TRACE(name);
    if (name == std::string("none.tar")) write_tar(folder / name, {});
    if (name == std::string("cut_later.tar")) write_file_atomically(folder / name, whole.substr(0, whole.size() / 2));
    const ShardFile file = list_shards({(folder / name).string()}).front();
    EXPECT_EQ(find_lost(file), "");
    open_shard(file);
  }
}

// One that became none after the list was made is an error, and no decision of one rank.
TEST(LostShards, AreOnlyTakenAsSuchWhenTheListSaysSo) {
  const TestFolder folder;
  write_file_atomically(folder / "a.tar", "<html>");
  EXPECT_THROW(open_shard(list_shards({folder.string()}).front()), DataError);
}

}  // namespace
}  // namespace millrace
