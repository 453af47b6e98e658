#include "base/folder_lock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>

#include "base/clock.h"
#include "base/error.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class FolderLockTest : public ::testing::Test {
 protected:
  FolderLockTest() {
    std::string pattern = (fs::temp_directory_path() / "millrace-lock-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FolderLockTest() override { fs::remove_all(folder_); }

  std::string refusal(double patience = 5) const {
    try {
      const FolderLock lock(folder_, ".lock", patience);
    } catch (const StorageError& error) {
      return error.what();
    }
    return "";
  }
  fs::path folder_;
};

TEST_F(FolderLockTest, NamesFolderAndHolder) {
  const FolderLock held(folder_);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("[" + folder_.string() + "]"), HasSubstr("another running process"),
                               HasSubstr("process " + std::to_string(::getpid()) + " on ")));
}

TEST_F(FolderLockTest, FilesOfOtherNamesAreOtherLocks) {
  const FolderLock held(folder_);
  EXPECT_NO_THROW(FolderLock(folder_, ".other"));
}

TEST_F(FolderLockTest, EndsWithItsOwnerWhateverTheFileSays) {
  { const FolderLock held(folder_); }
  EXPECT_EQ(refusal(), "");
  std::ofstream(folder_ / ".lock") << ::getppid() << " "
                                   << "elsewhere\n";
  EXPECT_EQ(refusal(), "");
}

TEST_F(FolderLockTest, HoldsWhateverTheFileSays) {
  const FolderLock held(folder_);
  for (const char* text : {"", "nonsense", "-1 x", "99999999999999999999 x", "1"}) {
    std::ofstream(folder_ / ".lock") << text;
    EXPECT_THAT(refusal(0.05), HasSubstr("got another running process (try")) << text;
  }
}

// A holder that was killed gives its memory back before the lock: the wait for it is part of a restart.
TEST_F(FolderLockTest, WaitsForAProcessThatIsEnding) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const FolderLock held(folder_);
    [[maybe_unused]] const ssize_t count = ::write(ready[1], "x", 1);
    ::pause();
    ::_exit(0);
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THAT(refusal(), HasSubstr("process " + std::to_string(child)));
  ::kill(child, SIGKILL);
  EXPECT_EQ(refusal(60), "");
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(FolderLockTest, AFolderThatCannotBeWrittenToIsNamed) {
  const fs::path file = folder_ / "file";
  std::ofstream(file) << "x";
  try {
    const FolderLock lock(file);
    ADD_FAILURE() << "expected to be refused";
  } catch (const StorageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("[" + file.string() + "] expected a folder that can be written to"));
  }
}

}  // namespace
}  // namespace millrace
