#include "train/rank_peers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/error.h"

namespace millrace {
namespace {

struct Outcome {
  std::string result, error;
};

// Runs the action of each rank, each on its own thread.
std::vector<Outcome> on_ranks(int size, const std::function<std::string(Peers&, int rank)>& body) {
  const std::unique_ptr<Store> store = make_local_store();
  std::vector<Outcome> outcomes(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      Peers peers(*store, rank, size, /*timeout_seconds=*/20);
      try {
        outcomes[static_cast<size_t>(rank)].result = body(peers, rank);
      } catch (const ModelError& error) {
        outcomes[static_cast<size_t>(rank)].error = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

std::vector<Outcome> compare_weights(const std::function<uint64_t(int rank)>& files,
                                     const std::function<torch::Tensor(int rank)>& weights) {
  return on_ranks(4, [&](Peers& peers, int rank) {
    CommOptions options;
    options.shape = {.dp_replicate = 2, .dp_shard = 2};
    check_equal_weights(
        peers, *fake(4, rank, options), [&] { return files(rank); }, weights(rank));
    return std::string("equal");
  });
}

torch::Tensor shard_of(int rank) {
  return torch::full({10}, rank % 2, torch::kFloat32);  // ranks 0 and 2 hold the same, and 1 and 3
}

TEST(RankPeers, EqualReplicasMayStart) {
  for (const Outcome& outcome : compare_weights([](int) { return 7; }, shard_of)) EXPECT_EQ(outcome.result, "equal");
}

TEST(RankPeers, AReplicaWithOtherWeightsIsNamedOnAllRanks) {
  const auto weights = [](int rank) {
    torch::Tensor shard = shard_of(rank);
    if (rank == 3) shard[4] += 1e-3;
    return shard;
  };
  for (const Outcome& outcome : compare_weights([](int) { return 7; }, weights)) {
    EXPECT_THAT(outcome.error, ::testing::HasSubstr("[rank 3 on nowhere] expected the same weights as on its replica"));
  }
}

TEST(RankPeers, ARankWithOtherFilesIsNamedOnAllRanks) {
  for (const Outcome& outcome : compare_weights([](int rank) { return rank == 2 ? 8 : 7; }, shard_of)) {
    EXPECT_THAT(outcome.error, ::testing::HasSubstr("[rank 2 on nowhere] expected the same files of weights"));
  }
}

TEST(RankPeers, TheFirstMessageAndTheFirstRanksAnswerAreEverybodys) {
  const auto messages = on_ranks(3, [](Peers& peers, int rank) {
    return first_message(peers, "what failed", rank == 0 ? "" : "rank " + std::to_string(rank));
  });
  for (const Outcome& outcome : messages) EXPECT_EQ(outcome.result, "rank 1");
  const auto answers = on_ranks(3, [](Peers& peers, int rank) {
    return std::string(ask_first_rank(peers, "is it so", [&] { return rank == 0; }) ? "yes" : "no");
  });
  for (const Outcome& outcome : answers) EXPECT_EQ(outcome.result, "yes");
}

}  // namespace
}  // namespace millrace
