// Ranks that fail, hang or die while all save: nothing half-finished has a final name, and the others learn it in time.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <mutex>

#include "base/clock.h"
#include "base/files.h"
#include "checkpoint/ranks_test_support.h"

namespace millrace {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::has_leftovers;
using ::testing::HasSubstr;
using testing::model_of_step;
using testing::options_of_rank;
using testing::pieces_of_rank;
using testing::RanksResult;
using testing::run_ranks;
using testing::save_by_ranks;
using testing::state_of_step;
using testing::TemporaryFolder;
using testing::WriteHookGuard;

// A store in files, so that processes can be ranks.
class FileStore : public Store {
 public:
  explicit FileStore(std::filesystem::path folder) : folder_(std::move(folder)) {}
  void set(const std::string& key, const std::string& value) override { write_file_atomically(path_of(key), value); }
  std::string get(const std::string& key, double) override { return read_file(path_of(key)); }
  bool has(const std::string& key) override { return std::filesystem::exists(path_of(key)); }
  void remove(const std::string& key) override { std::filesystem::remove(path_of(key)); }

 private:
  std::filesystem::path path_of(std::string key) const {
    std::replace(key.begin(), key.end(), '/', '+');
    return folder_ / key;
  }
  std::filesystem::path folder_;
};

TEST(LostRankTest, AFullDiskOnOneRankFailsAllAndTheNextSaveSucceeds) {
  for (int full = 0; full < 3; ++full) {
    TemporaryFolder folder;
    save_by_ranks(folder.path(), 10, 3, false, 1);
    std::atomic<bool> is_full{true};
    const WriteHookGuard guard([&](const std::filesystem::path& path, size_t) {
      if (is_full && path.string().find(shard_file_name(full, 3)) != std::string::npos) {
        throw StorageError("[" + path.string() + "] expected room, got none");
      }
    });
    const RanksResult result = run_ranks(3, [&](int rank, Store& store) {
      Checkpointer checkpointer(options_of_rank(folder.path(), rank, 3, store));
      checkpointer.save(20, pieces_of_rank(model_of_step(20), rank, 3, false, 1), state_of_step(20));
      std::string message;
      try {
        checkpointer.wait();
      } catch (const StorageError& error) {
        message = error.what();
      }
      EXPECT_THAT(message, AllOf(HasSubstr("expected room"), HasSubstr(shard_file_name(full, 3)))) << rank;
      EXPECT_THAT(checkpoint_steps(folder.path()), ElementsAre(10));
      store.set("seen/" + std::to_string(rank), "");
      for (int other = 0; other < 3; ++other) store.get("seen/" + std::to_string(other), 20);
      is_full = false;
      checkpointer.save_and_wait(30, pieces_of_rank(model_of_step(30), rank, 3, true, 2), state_of_step(30));
    });
    testing::expect_no_errors(result);
    EXPECT_FALSE(has_leftovers(folder.path()));
    EXPECT_THAT(checkpoint_steps(folder.path()), ElementsAre(10, 30));
    EXPECT_TRUE(torch::equal(load_checkpoint(folder.path()).tensor("model.conv"), model_of_step(30)[2].tensor));
  }
}

TEST(LostRankTest, ASilentRankIsNamedWithinTheDeadline) {
  for (int silent = 0; silent < 3; ++silent) {
    TemporaryFolder folder;
    save_by_ranks(folder.path(), 10, 3, false, 1);
    const double begin = now_seconds();
    const RanksResult result = run_ranks(3, [&](int rank, Store& store) {
      Checkpointer checkpointer(options_of_rank(folder.path(), rank, 3, store, /*timeout_seconds=*/0.5));
      if (rank == silent) return;
      checkpointer.save(20, pieces_of_rank(model_of_step(20), rank, 3, false, 1), state_of_step(20));
      checkpointer.wait();
    });
    EXPECT_LT(now_seconds() - begin, 4);
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == silent) continue;
      EXPECT_EQ(result.codes[static_cast<size_t>(rank)], ExitCode::kStorage);
      EXPECT_THAT(result.messages[static_cast<size_t>(rank)], HasSubstr("rank " + std::to_string(silent)));
    }
    EXPECT_THAT(checkpoint_steps(folder.path()), ElementsAre(10));
    EXPECT_FALSE(has_leftovers(folder.path()));
  }
}

// An exception leaves the step loop while others are gone: the program must end, and soon.
TEST(LostRankTest, TheDestructorDoesNotWaitForRanksThatAreGone) {
  TemporaryFolder folder;
  const auto store = make_local_store();
  const auto peers = std::make_shared<Peers>(*store, 0, 2, 600.0);
  peers->wait_at_most(0.3);
  const double begin = now_seconds();
  EXPECT_THROW(peers->agree(
                   "topic", [] { return std::string(); }, [](const auto&) { return std::string(); }),
               SilentRankError);
  EXPECT_LT(now_seconds() - begin, 3);
}

// Kills process `doomed` of three before one of its writes, for each of them in turn.
int kill_while_saving(int doomed, int kill_at) {
  TemporaryFolder folder, meeting;
  save_by_ranks(folder.path(), 10, 3, false, 1);
  std::vector<pid_t> children;
  for (int rank = 0; rank < 3; ++rank) {
    const pid_t child = millrace::testing::fork_child();
    if (child > 0) {
      children.push_back(child);
      continue;
    }
    int status = 0;
    try {
      int writes = 0;
      FileStore store(meeting.path());
      Checkpointer checkpointer(options_of_rank(folder.path(), rank, 3, store, 1.0, 10, /*async=*/false));
      set_write_hook_for_testing([&](const std::filesystem::path& path, size_t) {
        const bool is_own = path.string().find(folder.path().string()) == 0;
        if (is_own && rank == doomed && writes++ == kill_at) ::kill(::getpid(), SIGKILL);
      });
      checkpointer.save(20, pieces_of_rank(model_of_step(20), rank, 3, false, 1), state_of_step(20));
    } catch (const Error& error) {
      const bool names_it = std::string(error.what()).find("rank " + std::to_string(doomed)) != std::string::npos;
      status = names_it ? static_cast<int>(error.code()) : 1;
    }
    ::_exit(status);
  }
  std::vector<int> statuses;
  for (const pid_t child : children) {
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    statuses.push_back(status);
  }
  const bool killed = WIFSIGNALED(statuses[static_cast<size_t>(doomed)]);
  for (int rank = 0; rank < 3; ++rank) {
    const int status = statuses[static_cast<size_t>(rank)];
    if (killed && rank == doomed) continue;
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), killed ? static_cast<int>(ExitCode::kStorage) : 0) << "rank " << rank;
  }
  const int64_t latest = checkpoint_steps(folder.path()).back();
  EXPECT_EQ(latest, killed ? 10 : 20);
  EXPECT_TRUE(torch::equal(load_checkpoint(folder.path()).tensor("model.wide"), model_of_step(latest)[1].tensor));
  // Started again: the leftovers are removed, and the run resumes.
  save_by_ranks(folder.path(), 30, 2, true, 3);
  EXPECT_FALSE(has_leftovers(folder.path()));
  return killed ? 1 : 0;
}

TEST(LostRankTest, AKilledProcessNeverLeavesAHalfFinishedCheckpoint) {
  for (int doomed = 0; doomed < 2; ++doomed) {
    int kills = 0;
    for (const int kill_at : {0, 4, 1000}) kills += kill_while_saving(doomed, kill_at);
    EXPECT_EQ(kills, 2);
  }
}

}  // namespace
}  // namespace millrace
