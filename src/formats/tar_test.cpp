#include "formats/tar.h"

#include <cstdlib>

#include "base/error.h"
#include "base/files.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Members = std::vector<std::pair<std::string, std::string>>;

class Tar : public FolderTest {
 protected:
  void write_tar(std::string_view name, const Members& members) {
    TarWriter writer(path(name));
    for (const auto& [member, content] : members) writer.add(member, content);
    writer.close();
  }
  Members read_tar(std::string_view name, const TarReaderOptions& options = {}) {
    TarReader reader(path(name), options);
    Members members;
    std::string content;
    while (const auto entry = reader.next()) {
      reader.read(content);
      EXPECT_EQ(content.size(), entry->size);
      members.emplace_back(entry->name, content);
    }
    EXPECT_TRUE(reader.has_end_mark());
    return members;
  }

  const Members members_ = {{"000.png", std::string(3000, 'p')},
                            {"000.txt", "a cat"},
                            {"empty.txt", ""},
                            {"\xF0\x9F\x98\x80.txt", "emoji"},
                            {std::string(300, 'n') + ".txt", "long name"}};
};

TEST_F(Tar, ReadsBackWhatItWrote) {
  write_tar("a.tar", members_);
  EXPECT_EQ(read_tar("a.tar"), members_);
}

TEST_F(Tar, TheSameMembersGiveTheSameBytes) {
  write_tar("a.tar", members_);
  write_tar("b.tar", members_);
  EXPECT_EQ(read("a.tar"), read("b.tar"));
  const std::string header = read("a.tar").substr(0, 512);
  EXPECT_EQ(header.substr(136, 11), "00000000000") << "modification time";
  EXPECT_EQ(header.substr(108, 6), "000000") << "owner";
}

TEST_F(Tar, AnArchiveThatIsNotClosedDoesNotAppear) {
  {
    TarWriter writer(path("a.tar"));
    writer.add("a", "b");
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(Tar, AFullDiskIsAStorageError) {
  set_write_hook_for_testing([](const auto&, size_t) { throw StorageError("disk full"); });
  const std::string message = message_of<StorageError>([&] { write_tar("a.tar", members_); });
  set_write_hook_for_testing(nullptr);
  EXPECT_EQ(message, "disk full");
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(Tar, ContentThatIsNotReadIsSkipped) {
  write_tar("a.tar", members_);
  TarReader reader(path("a.tar"));
  std::vector<std::string> names;
  while (const auto entry = reader.next()) names.push_back(entry->name.substr(0, 9));
  EXPECT_THAT(names, ElementsAre("000.png", "000.txt", "empty.txt", "\xF0\x9F\x98\x80.txt", "nnnnnnnnn"));
}

TEST_F(Tar, OnlyRegularFilesAreMembers) {
  // Made by GNU tar, whose folders, links and devices must not be followed.
  const std::string make = "cd '" + folder_.string() +
                           "' && mkdir d && echo hi > d/f.txt && ln -s /etc/passwd d/s.txt && ln d/f.txt d/h.txt && "
                           "mkfifo d/p.txt && tar --sort=name -cf a.tar d";
  ASSERT_EQ(std::system(make.c_str()), 0);
  EXPECT_THAT(read_tar("a.tar"), ElementsAre(std::pair("d/f.txt", "hi\n")));
}

TEST_F(Tar, CompressedArchivesAreRead) {
  write_tar("a.tar", members_);
  ASSERT_EQ(std::system(("gzip -k '" + path("a.tar").string() + "'").c_str()), 0);
  EXPECT_EQ(read_tar("a.tar.gz"), members_);
  write("cut.tar.gz", read("a.tar.gz").substr(0, 150));
  EXPECT_THROW(read_tar("cut.tar.gz"), DataError);
}

TEST_F(Tar, ATruncatedArchiveIsADataErrorThatNamesFileAndByte) {
  write_tar("a.tar", {{"000.png", std::string(3000, 'p')}, {"000.txt", "a cat"}});
  const std::string whole = read("a.tar");
  ASSERT_EQ(whole.size(), 512u + 3072 + 512 + 512 + 1024);
  for (const size_t size : {100u, 512u, 700u, 3500u, 3700u, 4000u, 4100u, 4500u}) {
    write("cut.tar", whole.substr(0, size));
    const std::string message = message_of<DataError>([&] { read_tar("cut.tar"); });
    EXPECT_THAT(message, HasSubstr("cut.tar")) << size;
    if (size >= 512) {
      EXPECT_THAT(message, HasSubstr(", byte ")) << size;
    }
  }
}

TEST_F(Tar, NoticesACutBetweenMembers) {
  write_tar("a.tar", {{"000.txt", "a cat"}});
  write("cut.tar", read("a.tar").substr(0, 1024));
  TarReader reader(path("cut.tar"));
  EXPECT_TRUE(reader.next().has_value());
  EXPECT_FALSE(reader.next().has_value());
  EXPECT_FALSE(reader.has_end_mark());
}

TEST_F(Tar, AMemberAboveTheLimitFailsAndTheNextCanBeRead) {
  write_tar("a.tar", {{"big.bin", std::string(5000, 'b')}, {"small.txt", "s"}});
  TarReader reader(path("a.tar"), {.max_member_bytes = 1000});
  std::string content;
  ASSERT_EQ(reader.next()->name, "big.bin");
  EXPECT_THAT(message_of<DataError>([&] { reader.read(content); }),
              HasSubstr("member \"big.bin\"] expected at most 1000 bytes, got 5000"));
  ASSERT_EQ(reader.next()->name, "small.txt");
  reader.read(content);
  EXPECT_EQ(content, "s");
}

TEST_F(Tar, AClaimedSizeAllocatesNothing) {
  write_tar("a.tar", {{"a.bin", "tiny"}});
  std::string text = read("a.tar");
  text.replace(124, 12, std::string("77777777777\0", 12));  // 8 GiB
  unsigned sum = 0;
  text.replace(148, 8, "        ");
  for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(text[i]);
  char field[9];
  std::snprintf(field, sizeof field, "%06o", sum);
  text.replace(148, 8, std::string(field, 6) + std::string("\0 ", 2));
  write("a.tar", text);
  TarReader reader(path("a.tar"), {.max_member_bytes = uint64_t{1} << 40});
  ASSERT_EQ(reader.next()->size, 8589934591u);
  std::string content;
  EXPECT_THROW(reader.read(content), DataError);
  EXPECT_LT(content.capacity(), size_t{8} << 20);
}

TEST_F(Tar, WhatIsNoArchiveIsSaid) {
  write("noise.tar", std::string(5000, 'x'));
  EXPECT_THAT(message_of<DataError>([&] { read_tar("noise.tar"); }), HasSubstr("expected a tar archive"));
  write("empty.tar", "");
  EXPECT_THAT(message_of<DataError>([&] { read_tar("empty.tar"); }), HasSubstr("got an empty file"));
  EXPECT_THROW(read_tar("missing.tar"), StorageError);
  write("zeros.tar", std::string(1024, '\0'));
  EXPECT_TRUE(read_tar("zeros.tar").empty());
}

}  // namespace
}  // namespace millrace
