#include "base/file_claim.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class FileClaimTest : public testing::Test {
 protected:
  FileClaimTest() {
    std::string pattern = (fs::temp_directory_path() / "millrace-claim-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FileClaimTest() override { fs::remove_all(folder_); }

  fs::path path() const { return folder_ / "made"; }
  static void write(const FileClaim& claim, const std::string& text) {
    FileWriter writer(claim.temporary());
    writer.write(text);
    writer.close();
  }
  fs::path folder_;
};

TEST_F(FileClaimTest, OneWritesWhileOthersSeeItGrow) {
  FileClaim first(path());
  EXPECT_EQ(first.outcome(), FileClaim::Outcome::kMine);
  EXPECT_EQ(FileClaim(path()).outcome(), FileClaim::Outcome::kTaken);
  write(first, "12345");
  EXPECT_EQ(FileClaim(path()).bytes_so_far(), 5U);
  EXPECT_FALSE(fs::exists(path()));
  first.commit();
  EXPECT_EQ(read_file(path()), "12345");
  EXPECT_FALSE(fs::exists(first.temporary()));
}

TEST_F(FileClaimTest, WhatIsNotCommittedIsRemoved) {
  {
    const FileClaim claim(path());
    write(claim, "half");
  }
  EXPECT_TRUE(fs::is_empty(folder_));
  FileClaim next(path());
  EXPECT_EQ(next.outcome(), FileClaim::Outcome::kMine);
  next.commit();  // an old file of the final name is replaced
  FileClaim again(path());
  write(again, "new");
  again.commit();
  EXPECT_EQ(read_file(path()), "new");
}

TEST_F(FileClaimTest, AKilledProcessLeavesItToTheNext) {
  const pid_t child = ::fork();
  if (child == 0) {
    while (true) {  // the parent, which looks, may hold it at the moment
      const FileClaim claim(path());
      if (claim.outcome() == FileClaim::Outcome::kMine) {
        write(claim, "of a process that is gone");
        while (true) ::pause();
      }
      ::usleep(1000);
    }
  }
  const auto bytes = [&] {
    const FileClaim claim(path());
    return claim.outcome() == FileClaim::Outcome::kTaken ? claim.bytes_so_far() : 0;
  };
  const double limit = now_seconds() + 300;
  while (bytes() == 0 && now_seconds() < limit) ::usleep(10'000);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  FileClaim next(path());
  EXPECT_EQ(next.outcome(), FileClaim::Outcome::kMine);
  write(next, "whole");
  next.commit();
  EXPECT_EQ(read_file(path()), "whole");
}

TEST_F(FileClaimTest, AFolderThatIsNotThereIsAnError) {
  EXPECT_THROW(FileClaim(folder_ / "none" / "made"), StorageError);
}

}  // namespace
}  // namespace millrace
