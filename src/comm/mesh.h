// All ranks as a box with three named axes. rank = (replicate * dp_shard + shard) * tp + tp_rank: ranks of one
// tensor-parallel group are neighbours (and on one host), replicas are far apart.
//
//   dp_replicate   copies of the weights
//   dp_shard       ranks that share one copy
//   tp             ranks that share each matrix product
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/group.h"

namespace millrace {

struct MeshShape {
  int dp_replicate = 1;
  int dp_shard = 1;
  int tp = 1;
  int size() const { return dp_replicate * dp_shard * tp; }
  bool operator==(const MeshShape&) const = default;
};
std::string to_string(const MeshShape& shape);  // "dp_replicate 2 x dp_shard 4 x tp 1"

struct MeshPosition {
  int replicate = 0;
  int shard = 0;
  int tp = 0;
};
MeshPosition position_in(const MeshShape& shape, int rank);
int rank_at(const MeshShape& shape, const MeshPosition& position);

enum class MeshAxis { kReplicate, kShard, kTp, kData, kWorld };
const char* name_of(MeshAxis axis);  // "dp_replicate", "dp_shard", "tp", "data", "world"
// The world ranks of rank's group on axis, ascending.
std::vector<int> ranks_on(const MeshShape& shape, int rank, MeshAxis axis);

class Mesh {
 public:
  // make_transport is called once for each distinct set of two or more ranks, in the same order on every rank of the
  // set.
  using MakeTransport =
      std::function<std::shared_ptr<Transport>(const std::vector<int>& ranks, const std::string& name)>;
  // MILLRACE_CHECKs that shape.size() is the number of ranks.
  Mesh(const MeshShape& shape, int rank, int world_size, const MakeTransport& make_transport,
       const std::function<void()>& check = {});

  const MeshShape& shape() const { return shape_; }
  const MeshPosition& position() const { return position_; }
  Group& replicate() { return group(MeshAxis::kReplicate); }
  Group& shard() { return group(MeshAxis::kShard); }
  Group& tp() { return group(MeshAxis::kTp); }
  Group& data() { return group(MeshAxis::kData); }  // dp_replicate x dp_shard, where batches are split
  Group& world() { return group(MeshAxis::kWorld); }
  Group& group(MeshAxis axis) { return *groups_[static_cast<size_t>(axis)]; }
  int data_rank() const { return groups_[static_cast<size_t>(MeshAxis::kData)]->rank(); }
  int data_size() const { return groups_[static_cast<size_t>(MeshAxis::kData)]->size(); }

 private:
  MeshShape shape_;
  MeshPosition position_;
  std::array<std::unique_ptr<Group>, 5> groups_;
};

}  // namespace millrace
