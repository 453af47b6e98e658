#include "comm/mesh.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "comm/transport.h"

namespace millrace {
namespace {

constexpr std::array kAxes = {MeshAxis::kReplicate, MeshAxis::kShard, MeshAxis::kTp, MeshAxis::kData, MeshAxis::kWorld};

}  // namespace

std::string to_string(const MeshShape& shape) {
  return str("dp_replicate ", shape.dp_replicate, " x dp_shard ", shape.dp_shard, " x tp ", shape.tp);
}

MeshPosition position_in(const MeshShape& shape, int rank) {
  return {.replicate = rank / (shape.dp_shard * shape.tp),
          .shard = rank / shape.tp % shape.dp_shard,
          .tp = rank % shape.tp};
}

int rank_at(const MeshShape& shape, const MeshPosition& position) {
  return (position.replicate * shape.dp_shard + position.shard) * shape.tp + position.tp;
}

const char* name_of(MeshAxis axis) {
  constexpr std::array names = {"dp_replicate", "dp_shard", "tp", "data", "world"};
  return names[static_cast<size_t>(axis)];
}

std::vector<int> ranks_on(const MeshShape& shape, int rank, MeshAxis axis) {
  const MeshPosition mine = position_in(shape, rank);
  std::vector<int> ranks;
  for (int other = 0; other < shape.size(); ++other) {
    const MeshPosition its = position_in(shape, other);
    const bool same_replicate = its.replicate == mine.replicate;
    const bool same_shard = its.shard == mine.shard;
    const bool same_tp = its.tp == mine.tp;
    const bool belongs = axis == MeshAxis::kReplicate ? same_shard && same_tp
                         : axis == MeshAxis::kShard   ? same_replicate && same_tp
                         : axis == MeshAxis::kTp      ? same_replicate && same_shard
                         : axis == MeshAxis::kData    ? same_tp
                                                      : true;
    if (belongs) ranks.push_back(other);
  }
  return ranks;
}

Mesh::Mesh(const MeshShape& shape, int rank, int world_size, const MakeTransport& make_transport,
           const std::function<void()>& check)
    : shape_(shape), position_(position_in(shape, rank)) {
  MILLRACE_CHECK(shape.dp_replicate >= 1 && shape.dp_shard >= 1 && shape.tp >= 1 && shape.size() == world_size);
  MILLRACE_CHECK(rank >= 0 && rank < world_size);
  std::map<std::vector<int>, std::shared_ptr<Transport>> made;
  for (const MeshAxis axis : kAxes) {
    std::vector<int> ranks = ranks_on(shape, rank, axis);
    std::shared_ptr<Transport> transport;
    if (ranks.size() > 1) {
      std::shared_ptr<Transport>& known = made[ranks];
      if (!known) known = make_transport(ranks, name_of(axis));
      transport = known;
    }
    const int group_rank = static_cast<int>(std::find(ranks.begin(), ranks.end(), rank) - ranks.begin());
    groups_[static_cast<size_t>(axis)] =
        std::make_unique<Group>(name_of(axis), group_rank, std::move(ranks), std::move(transport), check);
  }
}

}  // namespace millrace
