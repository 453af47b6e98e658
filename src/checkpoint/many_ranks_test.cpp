// Saved by any number of ranks, loaded by any other.
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

#include "base/files.h"
#include "checkpoint/ranks_test_support.h"

namespace millrace {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::expect_no_errors;
using ::testing::HasSubstr;
using testing::model_of_step;
using ::testing::Not;
using testing::options_of_rank;
using testing::pieces_of_rank;
using testing::RanksResult;
using testing::run_ranks;
using testing::save_by_ranks;
using testing::state_of_step;
using testing::TemporaryFolder;

std::vector<NamedTensor> zeros_like_model() {
  std::vector<NamedTensor> zeros = model_of_step(0);
  for (NamedTensor& named : zeros) named.tensor = torch::zeros_like(named.tensor) - 1;
  return zeros;
}

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// All ranks fill their own parts of one model in shared memory, which then must be complete.
void expect_loads_on(const std::filesystem::path& folder, int64_t step, int size, bool boxes, unsigned seed) {
  const std::vector<NamedTensor> target = zeros_like_model(), expected = model_of_step(step);
  expect_no_errors(run_ranks(size, [&](int rank, Store& store) {
    Checkpointer checkpointer(options_of_rank(folder, rank, size, store));
    const LoadedCheckpoint loaded = checkpointer.load();
    EXPECT_EQ(loaded.step(), step);
    EXPECT_EQ(loaded.state_json(), state_of_step(step));
    loaded.copy_into(pieces_of_rank(target, rank, size, boxes, seed));
  }));
  for (size_t i = 0; i < target.size(); ++i) {
    EXPECT_TRUE(torch::equal(target[i].tensor, expected[i].tensor)) << target[i].name;
  }
}

TEST(AnyRanksTest, WhatAnyNumberOfRanksSavesAnyOtherNumberLoads) {
  for (int writers = 1; writers <= 4; ++writers) {
    for (const bool boxes_written : {false, true}) {
      TemporaryFolder folder;
      const auto seed = static_cast<unsigned>(writers);
      save_by_ranks(folder.path(), 7, writers, boxes_written, seed);
      for (int readers = 1; readers <= 4; ++readers) {
        SCOPED_TRACE(::testing::Message() << writers << " writers, " << readers << " readers, " << boxes_written);
        expect_loads_on(folder.path(), 7, readers, !boxes_written, seed + 10);
        expect_loads_on(folder.path(), 7, readers, boxes_written, seed + 20);
      }
      // As tools read it: whole tensors, by a process alone.
      const LoadedCheckpoint loaded = load_checkpoint(folder.path());
      EXPECT_EQ(loaded.world_size(), writers);
      for (const NamedTensor& expected : model_of_step(7)) {
        EXPECT_TRUE(torch::equal(loaded.tensor(expected.name), expected.tensor)) << expected.name;
        EXPECT_TRUE(torch::equal(loaded.read(expected.name), expected.tensor)) << expected.name;
      }
    }
  }
}

TEST(AnyRanksTest, EachRankWritesAFileOfItsOwn) {
  TemporaryFolder folder;
  save_by_ranks(folder.path(), 7, 3, false, 1);
  EXPECT_THAT(names_in(folder.path() / "step-00000007"),
              ElementsAre("index.json", "rank-00000-of-00003.safetensors", "rank-00001-of-00003.safetensors",
                          "rank-00002-of-00003.safetensors"));
  EXPECT_THAT(names_in(folder.path()), ElementsAre(".lock", "step-00000007"));
}

// Bytes of this process in memory, mapped files included.
int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total_pages = 0, resident_pages = 0;
  statm >> total_pages >> resident_pages;
  return resident_pages * ::sysconf(_SC_PAGESIZE);
}

TEST(AnyRanksTest, VerifyingAndReadingTakesTheMemoryOfAFewTensors) {
  constexpr int kNumTensors = 48;
  constexpr int64_t kTensorBytes = int64_t{4} << 20;
  TemporaryFolder folder;
  expect_no_errors(run_ranks(2, [&](int rank, Store& store) {
    Checkpointer checkpointer(options_of_rank(folder.path(), rank, 2, store, 20, 10, /*async=*/false));
    std::vector<NamedPiece> pieces;
    const torch::Tensor half = torch::full({512, 1024}, rank, torch::kFloat32);
    for (int i = 0; i < kNumTensors; ++i) {
      pieces.push_back({"t" + std::to_string(i), {1024, 1024}, rank * half.numel(), {}, {}, half});
    }
    checkpointer.save(1, pieces, "{}");
  }));
  const int64_t before = resident_bytes();
  const LoadedCheckpoint loaded = load_checkpoint(folder.path());
  int64_t peak = resident_bytes();
  for (const auto& [name, tensor] : loaded.tensors()) {
    const torch::Tensor whole = loaded.read(name);
    EXPECT_EQ(whole[0][0].item<float>(), 0);
    EXPECT_EQ(whole[1023][1023].item<float>(), 1);
    peak = std::max(peak, resident_bytes());
  }
  EXPECT_LT(peak - before, 12 * kTensorBytes);  // of 48
}

// Replicas hold the same pieces; only one of them writes, and all learn that it did.
TEST(AnyRanksTest, RanksThatSaveNothingTakePart) {
  TemporaryFolder folder;
  const std::vector<NamedTensor> model = model_of_step(5);
  expect_no_errors(run_ranks(4, [&](int rank, Store& store) {
    Checkpointer checkpointer(options_of_rank(folder.path(), rank, 4, store));
    std::vector<NamedPiece> pieces = pieces_of_rank(model, rank % 2, 2, false, 3);
    for (NamedPiece& piece : pieces) piece.saved = rank < 2;
    checkpointer.save(5, pieces, state_of_step(5));
    checkpointer.wait();
    EXPECT_EQ(checkpoint_steps(folder.path()).size(), 1u);
  }));
  EXPECT_EQ(names_in(folder.path() / "step-00000005").size(), 3u);
  expect_loads_on(folder.path(), 5, 3, true, 8);
}

TEST(AnyRanksTest, AsyncSavesHoldTheTensorsAsTheyWereAndKeepTheLatest) {
  TemporaryFolder folder;
  expect_no_errors(run_ranks(3, [&](int rank, Store& store) {
    Checkpointer checkpointer(options_of_rank(folder.path(), rank, 3, store, 20, /*keep_latest_k=*/2));
    for (int64_t step = 1; step <= 8; ++step) {
      const std::vector<NamedPiece> pieces = pieces_of_rank(model_of_step(step), rank, 3, step % 2 == 0, 5);
      checkpointer.save(step, pieces, state_of_step(step));
      for (const NamedPiece& piece : pieces) piece.data.zero_();
    }
    checkpointer.wait();
  }));
  EXPECT_THAT(checkpoint_steps(folder.path()), ElementsAre(7, 8));
  expect_loads_on(folder.path(), 8, 2, false, 1);
}

TEST(AnyRanksTest, LeftoversAreRemovedByRank0BeforeAnyRankSaves) {
  TemporaryFolder folder;
  std::filesystem::create_directories(folder.path() / ".tmp-step-00000008-123-0");
  std::ofstream(folder.path() / ".tmp-step-00000008-123-0" / "rank-00001-of-00002.safetensors") << "half";
  save_by_ranks(folder.path(), 9, 2, false, 1);
  EXPECT_THAT(names_in(folder.path()), ElementsAre(".lock", "step-00000009"));
}

TEST(AnyRanksTest, AnotherRunInTheFolderIsToldToAllRanks) {
  TemporaryFolder folder;
  const FolderLock other(folder.path());
  const RanksResult result = run_ranks(
      3, [&](int rank, Store& store) { Checkpointer checkpointer(options_of_rank(folder.path(), rank, 3, store)); });
  for (const std::string& message : result.messages) EXPECT_THAT(message, HasSubstr("another running process"));
}

TEST(AnyRanksTest, PiecesThatLeaveAGapAreNeverNamedACheckpoint) {
  TemporaryFolder folder;
  const RanksResult result = run_ranks(3, [&](int rank, Store& store) {
    Checkpointer checkpointer(options_of_rank(folder.path(), rank, 3, store));
    std::vector<NamedPiece> pieces = pieces_of_rank(model_of_step(5), rank, 3, false, 3);
    if (rank == 1) pieces.erase(pieces.begin());
    checkpointer.save_and_wait(5, pieces, state_of_step(5));
  });
  for (const std::string& message : result.messages) {
    EXPECT_THAT(message, AllOf(HasSubstr("model.weight"), HasSubstr("a gap")));
  }
  EXPECT_THAT(names_in(folder.path()), ElementsAre(".lock"));
}

TEST(AnyRanksTest, DifferencesOfAnyRankAreToldToAllAndNothingChanges) {
  TemporaryFolder folder;
  save_by_ranks(folder.path(), 7, 2, false, 1);
  std::vector<NamedTensor> target = zeros_like_model();
  target[0].tensor = torch::zeros({7, 12});
  target.pop_back();
  const RanksResult result = run_ranks(3, [&](int rank, Store& store) {
    Checkpointer checkpointer(options_of_rank(folder.path(), rank, 3, store));
    checkpointer.load().copy_into(pieces_of_rank(target, rank, 3, false, 2));
  });
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(result.codes[static_cast<size_t>(rank)], ExitCode::kModel);
    EXPECT_THAT(result.messages[static_cast<size_t>(rank)],
                AllOf(HasSubstr("2 differences"), HasSubstr("model.weight is F32 [7, 11], wanted F32 [7, 12]"),
                      HasSubstr("optimizer.step is not wanted")));
  }
  EXPECT_TRUE(torch::equal(target[1].tensor, torch::zeros_like(target[1].tensor) - 1));
}

// Each rank verifies a share only; damage in any byte of any shard is found by one of them and told to all.
class DamagedShardTest : public ::testing::Test {
 protected:
  DamagedShardTest() {
    for (const int64_t step : {10, 20}) save_by_ranks(folder_.path(), step, 3, false, 4);
  }
  // The one message of all three ranks; nothing may have been changed.
  std::string complaint() {
    const std::vector<NamedTensor> target = zeros_like_model();
    const RanksResult result = run_ranks(3, [&](int rank, Store& store) {
      Checkpointer checkpointer(options_of_rank(folder_.path(), rank, 3, store));
      checkpointer.load().copy_into(pieces_of_rank(target, rank, 3, true, 2));
    });
    EXPECT_EQ(result.messages[1], result.messages[0]);
    EXPECT_EQ(result.messages[2], result.messages[0]);
    for (const ExitCode code : result.codes) EXPECT_EQ(code, ExitCode::kStorage);
    for (const NamedTensor& named : target) EXPECT_TRUE((named.tensor == -1).all().item<bool>());
    return result.messages[0];
  }
  std::filesystem::path shard(int rank) const { return latest_ / shard_file_name(rank, 3); }
  static void overwrite(const std::filesystem::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
  }

  TemporaryFolder folder_;
  std::filesystem::path latest_ = folder_.path() / "step-00000020";
};

TEST_F(DamagedShardTest, AFlippedBitIsRefusedByNameAndTheCheckpointBeforeIsOffered) {
  for (int rank = 0; rank < 3; ++rank) {
    const std::string good = read_file(shard(rank));
    for (const double where : {0.01, 0.5, 0.8, 0.999}) {
      std::string bad = good;
      bad[static_cast<size_t>(where * static_cast<double>(good.size()))] ^= 4;
      overwrite(shard(rank), bad);
      EXPECT_THAT(complaint(), AllOf(HasSubstr(shard(rank).string()), HasSubstr("checksum"),
                                     HasSubstr("step 20 is damaged"), HasSubstr("--checkpoint.load_step=10")))
          << rank << " at " << where;
    }
    overwrite(shard(rank), good);
  }
  expect_loads_on(folder_.path(), 20, 3, true, 2);
}

TEST_F(DamagedShardTest, ATruncatedOrMissingShardIsRefusedByName) {
  const std::string good = read_file(shard(1));
  overwrite(shard(1), good.substr(0, good.size() - 5));
  EXPECT_THAT(complaint(), AllOf(HasSubstr(shard(1).string()), HasSubstr("--checkpoint.load_step=10")));
  std::filesystem::remove(shard(1));
  EXPECT_THAT(complaint(), AllOf(HasSubstr(shard(1).string()), HasSubstr("--checkpoint.load_step=10")));
}

TEST_F(DamagedShardTest, SwappedShardsAreRefusedByName) {
  std::filesystem::rename(shard(0), latest_ / "other");
  std::filesystem::rename(shard(2), shard(0));
  std::filesystem::rename(latest_ / "other", shard(2));
  EXPECT_THAT(complaint(), AllOf(HasSubstr("rank-0000"), HasSubstr("--checkpoint.load_step=10")));
}

TEST_F(DamagedShardTest, AShardOfAnotherStepIsRefusedByName) {
  overwrite(shard(2), read_file(folder_.path() / "step-00000010" / shard_file_name(2, 3)));
  EXPECT_THAT(complaint(), AllOf(HasSubstr(shard(2).string()), HasSubstr("checksum")));
}

TEST_F(DamagedShardTest, SaysOnAllRanksWhenThereIsNothingToGoBackTo) {
  std::filesystem::remove(shard(1));
  std::filesystem::remove(folder_.path() / "step-00000010" / shard_file_name(0, 3));
  EXPECT_THAT(complaint(), HasSubstr("there is no complete one before it"));
}

// Two machines that do not share the disk.
TEST(AnyRanksTest, ARankThatSeesAnotherFolderIsNoticed) {
  TemporaryFolder folder, other;
  save_by_ranks(folder.path(), 7, 2, false, 1);
  save_by_ranks(other.path(), 7, 2, false, 2);
  const RanksResult result = run_ranks(2, [&](int rank, Store& store) {
    const auto peers = std::make_shared<Peers>(store, rank, 2, 20.0);
    load_checkpoint(rank == 0 ? folder.path() : other.path(), -1, peers, "load");
  });
  for (const std::string& message : result.messages) {
    EXPECT_THAT(message, AllOf(HasSubstr("rank 1"), HasSubstr("share")));
  }
}

}  // namespace
}  // namespace millrace
