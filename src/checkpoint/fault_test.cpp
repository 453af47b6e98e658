// Whatever fails while a checkpoint is saved, the one before it stays, and no step folder is incomplete.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <fstream>
#include <iostream>

#include "base/files.h"
#include "checkpoint/test_support.h"
#include "checkpoint/traced_process_test_support.h"

namespace millrace {
namespace {

using testing::expect_latest_is;
using testing::FileCall;
using testing::has_leftovers;
using ::testing::HasSubstr;
using testing::message_of;
using testing::run_traced;
using testing::state_of_step;
using testing::TemporaryFolder;
using testing::tensors_of_step;
using testing::TracedRun;
using testing::WriteHookGuard;

void save(const std::filesystem::path& folder, int64_t step, int keep_latest_k) {
  Checkpointer checkpointer({folder, keep_latest_k, false});
  checkpointer.save(step, tensors_of_step(step), state_of_step(step));
}

TEST(FaultTest, AFailureOfAnyWriteLeavesTheOlderCheckpointAndNothingElse) {
  for (const bool async : {false, true}) {
    int writes = 0;
    bool failed = true;
    for (int fail_at = 0; failed; ++fail_at) {
      TemporaryFolder folder;
      Checkpointer checkpointer({folder.path(), 1, async});
      checkpointer.save(10, tensors_of_step(10), state_of_step(10));
      checkpointer.wait();
      writes = failed = 0;
      {
        const WriteHookGuard guard([&](const std::filesystem::path& path, size_t) {
          if (writes++ == fail_at) throw StorageError("[" + path.string() + "] expected room, got none");
        });
        try {
          checkpointer.save(20, tensors_of_step(20), state_of_step(20));
          checkpointer.wait();
        } catch (const StorageError& error) {
          failed = true;
          EXPECT_EQ(error.code(), ExitCode::kStorage);
          EXPECT_THAT(error.what(), HasSubstr("expected room"));
        }
      }
      EXPECT_FALSE(has_leftovers(folder.path()));
      expect_latest_is(folder.path(), failed ? 10 : 20);
      checkpointer.save(30, tensors_of_step(30), state_of_step(30));
      checkpointer.wait();
      expect_latest_is(folder.path(), 30);
    }
    EXPECT_GE(writes, 7);  // two headers, four tensors with bytes, the index
  }
}

TEST(FaultTest, AnErrorInTheBackgroundSurfacesAtTheNextCall) {
  TemporaryFolder folder;
  Checkpointer checkpointer({folder.path(), 1, true});
  const WriteHookGuard guard([](const std::filesystem::path&, size_t) { throw StorageError("[disk] expected room"); });
  checkpointer.save(10, tensors_of_step(10), state_of_step(10));
  EXPECT_THAT(message_of<StorageError>([&] { checkpointer.save(20, tensors_of_step(20), state_of_step(20)); }),
              HasSubstr("expected room"));
  checkpointer.wait();  // told once
  checkpointer.save(20, tensors_of_step(20), state_of_step(20));
  for (int i = 0; i < 1000 && !checkpointer.is_over(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(checkpointer.is_over());
  EXPECT_THROW(checkpointer.wait(), StorageError);
}

// Runs the checks in a child, for what would change this process: its mounts and limits.
void in_a_child(const std::function<void()>& checks) {
  const pid_t child = millrace::testing::fork_child();
  ASSERT_GE(child, 0);
  if (child == 0) {
    checks();
    std::cout.flush();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

// A tmpfs of 1 MiB, seen by this process only. False if the system does not allow mounting.
bool mount_small_disk(const std::filesystem::path& folder) {
  if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  return ::mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=1m") == 0;
}

// Any file that grows above this fails with EFBIG.
void limit_file_size(rlim_t bytes) {
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {bytes, RLIM_INFINITY};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
}

std::vector<NamedTensor> tensors_of_bytes(int64_t size) {
  return {{"small", torch::zeros({16})}, {"large", torch::zeros({size}, torch::kUInt8)}};
}

TEST(FaultTest, AFullDiskLeavesTheOlderCheckpoint) {
  TemporaryFolder folder;
  in_a_child([&] {
    const bool mounted = mount_small_disk(folder.path());
    Checkpointer checkpointer({folder.path(), 1, false});
    checkpointer.save(10, tensors_of_step(10), state_of_step(10));
    if (mounted) {  // seen before the first byte is written
      EXPECT_THAT(message_of<StorageError>([&] { checkpointer.save(20, tensors_of_bytes(2 << 20), "{}"); }),
                  HasSubstr("of free space"));
    } else {
      limit_file_size(256 << 10);
    }
    // Another program takes the room while the checkpoint is written.
    const std::filesystem::path rival = folder.path() / "rival";
    const WriteHookGuard guard([&](const std::filesystem::path& path, size_t) {
      if (!mounted || path == rival || std::filesystem::exists(rival)) return;
      std::ofstream(rival) << std::string(900 << 10, 'x');
    });
    EXPECT_THAT(message_of<StorageError>([&] { checkpointer.save(20, tensors_of_bytes(512 << 10), "{}"); }),
                HasSubstr("more bytes"));
    EXPECT_FALSE(has_leftovers(folder.path()));
    expect_latest_is(folder.path(), 10);
    std::filesystem::remove(rival);
    checkpointer.save(30, tensors_of_step(30), state_of_step(30));
    expect_latest_is(folder.path(), 30);
  });
}

TEST(FaultTest, AFileSizeLimitLeavesTheOlderCheckpoint) {
  TemporaryFolder folder;
  in_a_child([&] {
    Checkpointer checkpointer({folder.path(), 1, true});
    checkpointer.save(10, tensors_of_step(10), state_of_step(10));
    checkpointer.wait();
    limit_file_size(64 << 10);
    checkpointer.save(20, tensors_of_bytes(512 << 10), "{}");
    EXPECT_THAT(message_of<StorageError>([&] { checkpointer.wait(); }), HasSubstr("more bytes"));
    expect_latest_is(folder.path(), 10);
  });
}

TEST(FaultTest, AFolderThatCannotBeWrittenIsAStorageError) {
  TemporaryFolder folder;
  std::ofstream(folder.path() / "file") << "x";
  EXPECT_THAT(message_of<StorageError>([&] {
                Checkpointer({folder.path() / "file" / "checkpoint", 1, false});
              }),
              HasSubstr("file/checkpoint"));
}

// SIGKILL before every single system call that changes files, of a save that also deletes or replaces an older one.
void kill_at_every_call(int64_t new_step) {
  bool killed = true;
  int num_kills = 0, num_old = 0, num_new = 0;
  for (int kill_at = 0; killed; ++kill_at) {
    TemporaryFolder folder;
    save(folder.path(), 10, 1);
    const TracedRun run = run_traced([&] { save(folder.path(), new_step, 1); }, kill_at);
    killed = run.killed;
    if (!killed) {
      EXPECT_EQ(run.exit_code, 0);
      expect_latest_is(folder.path(), new_step);
      break;
    }
    ++num_kills;
    const int64_t latest = checkpoint_steps(folder.path()).empty() ? -1 : checkpoint_steps(folder.path()).back();
    ++(latest == new_step ? num_new : num_old);
    ASSERT_TRUE(latest == 10 || latest == new_step) << "killed before call " << kill_at;
    expect_latest_is(folder.path(), latest);
    save(folder.path(), 30, 1);  // started again
    EXPECT_FALSE(has_leftovers(folder.path()));
    EXPECT_EQ(checkpoint_steps(folder.path()), std::vector<int64_t>{30});
    if (::testing::Test::HasFailure()) FAIL() << "killed before call " << kill_at;
  }
  EXPECT_GE(num_kills, 25);
  EXPECT_GE(num_new, new_step == 10 ? 1 : 5);
}

TEST(FaultTest, KilledAtAnySystemCallOneCompleteCheckpointIsThere) {
  kill_at_every_call(20);
}

TEST(FaultTest, KilledWhileReplacingAStepOneCompleteCheckpointIsThere) {
  kill_at_every_call(10);
}

// What the disk has after a power cut is what was synced before: each file before its name, all before the final name.
TEST(FaultTest, EverythingIsOnTheDiskBeforeItIsNamed) {
  TemporaryFolder folder;
  const TracedRun run = run_traced([&] { save(folder.path(), 20, 1); });
  ASSERT_EQ(run.exit_code, 0);
  const auto first = [&](const std::string& name, const std::string& path, const std::string& to = "") {
    for (size_t i = 0; i < run.calls.size(); ++i) {
      const FileCall& call = run.calls[i];
      const bool path_fits = path.ends_with('*') ? call.path.find(path.substr(0, path.size() - 1)) != std::string::npos
                                                 : call.path.ends_with(path);
      if (call.name == name && path_fits && call.to.ends_with(to)) return static_cast<int>(i);
    }
    ADD_FAILURE() << "no " << name << " of " << path;
    return -1;
  };
  const std::string temporary = ".tmp-step-00000020-";
  std::string temporary_folder;
  for (const FileCall& call : run.calls) {
    if (call.name == "mkdir" && call.path.find(temporary) != std::string::npos) temporary_folder = call.path;
  }
  const std::vector<int> order = {first("fsync", "/.rank-00000.safetensors.*"),
                                  first("rename", "/.rank-00000.safetensors.*", "/rank-00000.safetensors"),
                                  first("fsync", "/.index.json.*"),
                                  first("rename", "/.index.json.*", "/index.json"),
                                  first("rename", temporary_folder, "/step-00000020"),
                                  first("fsync", folder.path().filename().string())};
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end())) << ::testing::PrintToString(order);
  // The temporary folder's last sync lies between its last new name and its own renaming.
  int last_sync = -1;
  for (size_t i = 0; i < run.calls.size(); ++i) {
    if (run.calls[i].name == "fsync" && run.calls[i].path == temporary_folder) last_sync = static_cast<int>(i);
  }
  EXPECT_GT(last_sync, order[3]);
  EXPECT_LT(last_sync, order[4]);
}

}  // namespace
}  // namespace millrace
