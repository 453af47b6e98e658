#include "base/temporary_files.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <memory>
#include <vector>

namespace millrace {
namespace {

namespace fs = std::filesystem;

class TemporaryFiles : public ::testing::Test {
 protected:
  TemporaryFiles() {
    std::string pattern = (fs::temp_directory_path() / "millrace-temporary-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFiles() override { fs::remove_all(folder_); }

  fs::path file(const std::string& name) const {
    std::ofstream(folder_ / name) << "half";
    return folder_ / name;
  }
  // How a process ends that does `work`.
  static int status_of(const std::function<void()>& work) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(STDERR_FILENO);
      work();
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  }
  fs::path folder_;
};

TEST_F(TemporaryFiles, HaveNamesThatAreKnown) {
  const std::string name = temporary_name("folder/weights.bin").filename().string();
  EXPECT_TRUE(name.starts_with(".weights.bin.tmp-")) << name;
  EXPECT_NE(temporary_name("folder/weights.bin").filename(), name);
  EXPECT_TRUE(is_temporary_name(name));
  EXPECT_TRUE(is_temporary_name(".a-1.tmp-29022-428"));
  EXPECT_TRUE(is_temporary_name(".a-1.part-29022-428"));  // of an earlier version
  for (const char* other : {".notes.tmp-1", "notes.tmp-1-2", ".notes.tmp-1-b", ".notes.tmp--1", ".notes.part-1", ""}) {
    EXPECT_FALSE(is_temporary_name(other)) << other;
  }
}

TEST_F(TemporaryFiles, GoWithASignalAndOthersStay) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const fs::path half = file("half"), complete = file("complete"), other = file("other");
    const int status = status_of([&] {
      ::signal(signal, SIG_DFL);
      remove_temporary_files_on_signals();
      const TemporaryFile named(half);
      { const TemporaryFile no_longer(complete); }
      ::raise(signal);
    });
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << signal;
    EXPECT_FALSE(fs::exists(half)) << signal;
    EXPECT_TRUE(fs::exists(complete) && fs::exists(other)) << signal;
  }
}

TEST_F(TemporaryFiles, IgnoredSignalsStayIgnored) {
  const fs::path half = file("half");
  EXPECT_EQ(status_of([&] {
              ::signal(SIGHUP, SIG_IGN);
              remove_temporary_files_on_signals();
              const TemporaryFile named(half);
              ::raise(SIGHUP);
            }),
            0);
  EXPECT_TRUE(fs::exists(half));
}

TEST_F(TemporaryFiles, MoreThanAreKeptDoNoHarm) {
  std::vector<std::unique_ptr<TemporaryFile>> many;
  for (int i = 0; i < 1000; ++i) many.push_back(std::make_unique<TemporaryFile>(folder_ / std::to_string(i)));
  const TemporaryFile long_name(folder_ / std::string(5000, 'x'));
}

}  // namespace
}  // namespace millrace
