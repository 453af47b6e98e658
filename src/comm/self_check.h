// Checks every collective of every group of a mesh against the expected result, which each rank computes alone.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"

namespace millrace {

struct CollectiveCheck {
  std::string name;  // "all_gather on dp_shard, 3 ranks, float32"
  double error = 0;  // largest, relative to the largest value expected; the worst of all ranks
  double allowed = 0;
  double seconds = 0;  // of one call, the slowest rank's
  int64_t bytes = 0;   // payload
  bool passed() const { return error <= allowed; }
};

// The shape that spreads the ranks over as many axes as possible: 8 -> 2 x 2 x 2, 6 -> 2 x 3 x 1, 3 -> 1 x 3 x 1.
MeshShape shape_for_check(int ranks);

// Collective over all ranks; count is the number of elements of one rank's part. All ranks get the same list.
std::vector<CollectiveCheck> check_collectives(Communicator& ranks, torch::Device device, int64_t count);

}  // namespace millrace
