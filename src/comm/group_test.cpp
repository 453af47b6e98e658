#include "comm/group.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "comm/communicator.h"
#include "comm/self_check.h"
#include "comm/socket_ranks_test_support.h"

namespace millrace {
namespace {

using testing::HasSubstr;

TEST(Group, OneRankIsTheIdentityAndMovesNothing) {
  const auto alone = connect(World{}, {});
  Group& group = alone->mesh().world();
  const torch::Tensor shard = torch::arange(5, torch::kFloat32);
  torch::Tensor full = torch::zeros({5});
  group.all_gather(full, shard).wait();
  EXPECT_TRUE(torch::equal(full, shard));
  torch::Tensor sum = torch::zeros({5});
  group.reduce_scatter(sum, shard).wait();
  EXPECT_TRUE(torch::equal(sum, shard));
  group.all_reduce(sum).wait();
  EXPECT_TRUE(torch::equal(sum, shard));
  group.barrier();
  EXPECT_EQ(group.traffic().total().calls, 0);
  EXPECT_THAT(alone->describe(), HasSubstr("rank 0 of 1"));
}

TEST(Group, TheFakeRecordsWhatARingWouldSend) {
  const auto ranks = fake(12, 7, {.shape = {.dp_replicate = 2, .dp_shard = 3, .tp = 2}});
  Group& shard_group = ranks->mesh().shard();
  torch::Tensor full = torch::full({30}, -1.0F);
  const torch::Tensor shard = torch::arange(10, torch::kFloat32);
  shard_group.all_gather(full, shard).wait();
  EXPECT_EQ(shard_group.rank(), 0);
  EXPECT_TRUE(torch::equal(full.narrow(0, 0, 10), shard));
  shard_group.reduce_scatter(torch::empty({10}), full).wait();
  shard_group.all_reduce(full).wait();
  shard_group.all_reduce(full, Reduce::kMax).wait();
  const Traffic& traffic = shard_group.traffic();
  EXPECT_EQ(traffic[Collective::kAllGather].calls, 1);
  EXPECT_EQ(traffic[Collective::kAllGather].payload_bytes, 120);
  EXPECT_EQ(traffic[Collective::kAllGather].sent_bytes, 80);
  EXPECT_EQ(traffic[Collective::kReduceScatter].sent_bytes, 80);
  EXPECT_EQ(traffic[Collective::kAllReduce].calls, 2);
  EXPECT_EQ(traffic[Collective::kAllReduce].sent_bytes, 2 * 160);
  EXPECT_EQ(traffic.total().sent_bytes, 480);
  EXPECT_EQ(ranks->mesh().tp().traffic().total().calls, 0);
}

TEST(Group, TheFakeTakesMetaTensors) {
  const auto ranks = fake(4, 0, {.shape = {.dp_shard = 4}});
  const auto meta = torch::TensorOptions(torch::kMeta).dtype(torch::kBFloat16);
  ranks->mesh()
      .shard()
      .all_gather(torch::empty({int64_t{1} << 40}, meta), torch::empty({int64_t{1} << 38}, meta))
      .wait();
  EXPECT_EQ(ranks->mesh().shard().traffic()[Collective::kAllGather].sent_bytes, (int64_t{1} << 41) / 4 * 3);
}

TEST(Group, SizesAndDtypesMustFit) {
  const auto ranks = fake(2, 0, {.shape = {.dp_shard = 2}});
  Group& group = ranks->mesh().shard();
  EXPECT_THROW(group.all_gather(torch::empty({5}), torch::empty({2})), LogicError);
  EXPECT_THROW(group.reduce_scatter(torch::empty({2}, torch::kBFloat16), torch::empty({4})), LogicError);
  EXPECT_THROW(group.all_reduce(torch::empty({4, 4}).t().slice(0, 0, 2)), LogicError);
  EXPECT_THROW(group.broadcast(torch::empty({4}), 2), LogicError);
}

TEST(Gloo, EveryCollectiveOnEveryAxisGivesWhatItMust) {
  for (const int count : {2, 3, 4}) {
    as_ranks(count, shape_for_check(count), [&](Communicator& ranks) {
      for (const int64_t elements : {1, 37, 20000}) {
        for (const CollectiveCheck& check : check_collectives(ranks, torch::kCPU, elements)) {
          EXPECT_TRUE(check.passed()) << count << " ranks, " << elements << ": " << check.name << " " << check.error;
        }
      }
    });
  }
}

TEST(Gloo, SumsHaveTheSameBitsInEveryRun) {
  std::array<torch::Tensor, 2> results[2];
  for (auto& result : results) {
    as_ranks(3, {.dp_shard = 3}, [&](Communicator& ranks) {
      Group& group = ranks.mesh().shard();
      const torch::Tensor full = torch::sin(torch::arange(30000, torch::kFloat32) * (1 + group.rank()));
      torch::Tensor part = torch::empty({10000});
      torch::Tensor whole = full.clone();
      group.reduce_scatter(part, full).wait();
      group.all_reduce(whole).wait();
      if (group.rank() == 1) result = {part, whole};
    });
  }
  EXPECT_TRUE(torch::equal(results[0][0], results[1][0]));
  EXPECT_TRUE(torch::equal(results[0][1], results[1][1]));
}

TEST(Gloo, CollectivesMayOverlapAndWorkInPlace) {
  as_ranks(3, {.dp_shard = 3}, [](Communicator& ranks) {
    Group& group = ranks.mesh().shard();
    std::vector<torch::Tensor> fulls;
    std::vector<Work> works;
    for (int i = 0; i < 8; ++i) {
      fulls.push_back(torch::full({3 * 5000}, static_cast<float>(group.rank() + i)));
      torch::Tensor own = fulls.back().narrow(0, group.rank() * 5000, 5000);
      works.push_back(i % 2 == 0 ? group.all_gather(fulls.back(), own) : group.reduce_scatter(own, fulls.back()));
    }
    for (size_t i = 8; i-- > 0;) works[i].wait();
    for (int i = 0; i < 8; ++i) {
      const torch::Tensor& full = fulls[static_cast<size_t>(i)];
      if (i % 2 == 0) {
        for (int rank = 0; rank < 3; ++rank)
          EXPECT_EQ(full[rank * 5000 + 4999].item<float>(), static_cast<float>(rank + i));
      } else {
        EXPECT_EQ(full[group.rank() * 5000 + 17].item<float>(), static_cast<float>(3 * i + 3));
      }
    }
  });
}

TEST(Gloo, IntegersAndMaximaToo) {
  as_ranks(2, {.dp_shard = 2}, [](Communicator& ranks) {
    Group& group = ranks.mesh().world();
    torch::Tensor counts = torch::tensor({int64_t{1} << 40, int64_t{group.rank()}});
    group.all_reduce(counts).wait();
    EXPECT_EQ(counts[0].item<int64_t>(), int64_t{1} << 41);
    EXPECT_EQ(counts[1].item<int64_t>(), 1);
    torch::Tensor most = torch::tensor({group.rank() == 0 ? 5.0 : -1.0});
    group.all_reduce(most, Reduce::kMax).wait();
    EXPECT_EQ(most.item<double>(), 5.0);
    torch::Tensor bytes = torch::full({100}, group.rank(), torch::kUInt8);
    group.broadcast(bytes, 1).wait();
    EXPECT_EQ(bytes.sum().item<int64_t>(), 100);
  });
}

TEST(Store, ValuesReachOtherRanksAndWaitsEnd) {
  as_ranks(2, {.dp_shard = 2}, [](Communicator& ranks) {
    if (ranks.world().rank == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      ranks.store().set("key", std::string("a\0b", 3));
    }
    EXPECT_EQ(ranks.store().get("key", 30), std::string("a\0b", 3));
    EXPECT_FALSE(ranks.store().has("other"));
    EXPECT_THROW(ranks.store().get("other", 0.05), PeerLostError);
    // One thread that waits does not hold up another.
    std::thread waiting([&] { EXPECT_EQ(ranks.store().get("late", 30), "x"); });
    ranks.store().set(std::to_string(ranks.world().rank), "y");
    if (ranks.world().rank == 0) ranks.store().set("late", "x");
    waiting.join();
  });
}

}  // namespace
}  // namespace millrace
