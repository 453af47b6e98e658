// Assembles whole units from the ranks' parts: gathered ahead of use, released afterwards.
#pragma once

#include <vector>

#include <torch/types.h>

#include "comm/group.h"
#include "config/sections/ranks.h"
#include "parallel/buffer_pool.h"
#include "parallel/flat_layout.h"

namespace millrace {

class UnitGatherer {
 public:
  // own: this rank's parts of all units, in the dtype of the gathers. Both outlive the gatherer.
  UnitGatherer(const FlatLayout& layout, Group& shard, const torch::Tensor& own, Reshard reshard);

  // The whole unit; waits for it. Then starts gathering `next`, unless it is present or out of range.
  const torch::Tensor& enter(size_t unit, size_t next);
  // ends_pass: it was the pass's last use.
  void leave_forward(size_t unit, bool keep, bool ends_pass);
  void leave_backward(size_t unit);
  // The weights are about to change: discards everything gathered.
  void release_all();
  const torch::Tensor& whole(size_t unit) const { return gathered_[unit].whole; }

 private:
  struct Gathered {
    torch::Tensor whole;  // undefined: not gathered
    Work work;
    bool arrived = false;
  };
  void start(size_t unit);
  void release(size_t unit);

  const FlatLayout& layout_;
  Group& shard_;
  torch::Tensor own_;
  Reshard reshard_;
  BufferPool pool_;
  std::vector<Gathered> gathered_;
};

}  // namespace millrace
