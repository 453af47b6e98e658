#include "download/checksum.h"

#include <gtest/gtest.h>

#include <string_view>

namespace millrace {
namespace {

std::string hex(ChecksumKind kind, std::string_view text, size_t piece) {
  ChecksumStream stream(kind, text.size());
  for (size_t at = 0; at < text.size(); at += piece) stream.update(std::as_bytes(std::span(text.substr(at, piece))));
  return stream.finish().hex;
}

// The values of RFC 1321, FIPS 180 and `git hash-object`.
TEST(Checksum, IsTheOneThatSourcesGive) {
  for (const size_t piece : {1, 2, 100}) {
    EXPECT_EQ(hex(ChecksumKind::kMd5, "message digest", piece), "f96b697d7cb7938d525a2f31aaf161d0");
    EXPECT_EQ(hex(ChecksumKind::kSha256, "abc", piece),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(hex(ChecksumKind::kGitBlob, "hello\n", piece), "ce013625030ba8dba906f756967f9e9ca394464a");
  }
  EXPECT_EQ(hex(ChecksumKind::kMd5, "", 1), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(hex(ChecksumKind::kGitBlob, "", 1), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
}

TEST(Checksum, IsHexOfTheRightLength) {
  EXPECT_TRUE(is_checksum(ChecksumKind::kMd5, "d41d8cd98f00b204e9800998ecf8427e"));
  EXPECT_FALSE(is_checksum(ChecksumKind::kMd5, "D41d8cd98f00b204e9800998ecf8427e"));
  EXPECT_FALSE(is_checksum(ChecksumKind::kSha256, "d41d8cd98f00b204e9800998ecf8427e"));
  EXPECT_FALSE(is_checksum(ChecksumKind::kMd5, ""));
}

}  // namespace
}  // namespace millrace
