#include "comm/mesh.h"

#include <gmock/gmock.h>

#include <set>

#include "base/error.h"
#include "comm/communicator.h"
#include "comm/self_check.h"

namespace millrace {
namespace {

using testing::ElementsAre;

constexpr MeshShape kShape = {.dp_replicate = 2, .dp_shard = 3, .tp = 2};

TEST(Mesh, RanksAndPositionsAreInverse) {
  std::set<int> seen;
  for (int rank = 0; rank < kShape.size(); ++rank) {
    const MeshPosition position = position_in(kShape, rank);
    EXPECT_EQ(rank_at(kShape, position), rank);
    seen.insert((position.replicate * 3 + position.shard) * 2 + position.tp);
  }
  EXPECT_EQ(seen.size(), 12u);
}

TEST(Mesh, TensorParallelRanksAreNeighboursAndReplicasFarApart) {
  EXPECT_THAT(ranks_on(kShape, 3, MeshAxis::kTp), ElementsAre(2, 3));
  EXPECT_THAT(ranks_on(kShape, 3, MeshAxis::kShard), ElementsAre(1, 3, 5));
  EXPECT_THAT(ranks_on(kShape, 3, MeshAxis::kReplicate), ElementsAre(3, 9));
  EXPECT_THAT(ranks_on(kShape, 3, MeshAxis::kData), ElementsAre(1, 3, 5, 7, 9, 11));
  EXPECT_EQ(ranks_on(kShape, 3, MeshAxis::kWorld).size(), 12u);
}

TEST(Mesh, EveryRankBelongsToOneGroupOfEachAxis) {
  for (const MeshAxis axis :
       {MeshAxis::kReplicate, MeshAxis::kShard, MeshAxis::kTp, MeshAxis::kData, MeshAxis::kWorld}) {
    for (int rank = 0; rank < kShape.size(); ++rank) {
      const auto ranks = ranks_on(kShape, rank, axis);
      EXPECT_THAT(ranks, testing::Contains(rank));
      for (const int other : ranks) EXPECT_EQ(ranks_on(kShape, other, axis), ranks);
    }
  }
}

TEST(Mesh, GroupsOfTheSameRanksShareOneTransport) {
  const auto flat = fake(4, 1, {.shape = {.dp_shard = 4}});
  EXPECT_EQ(flat->mesh().shard().transport(), flat->mesh().world().transport());
  EXPECT_EQ(flat->mesh().tp().transport(), nullptr);
  EXPECT_EQ(flat->mesh().data_rank(), 1);
  EXPECT_EQ(flat->mesh().data_size(), 4);
  EXPECT_THROW(fake(5, 0, {.shape = {.dp_shard = 4}}), LogicError);
}

TEST(Mesh, TheCheckUsesAsManyAxesAsTheRanksAllow) {
  EXPECT_EQ(shape_for_check(8), (MeshShape{2, 2, 2}));
  EXPECT_EQ(shape_for_check(6), (MeshShape{2, 3, 1}));
  EXPECT_EQ(shape_for_check(3), (MeshShape{1, 3, 1}));
  for (int ranks = 1; ranks < 40; ++ranks) EXPECT_EQ(shape_for_check(ranks).size(), ranks);
}

}  // namespace
}  // namespace millrace
