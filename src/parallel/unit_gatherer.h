// Assembles whole units from the ranks' parts: gathered ahead of use, released afterwards.
#pragma once

#include <vector>

#include <torch/types.h>

#include "comm/group.h"
#include "config/sections/ranks.h"
#include "parallel/buffer_pool.h"

namespace millrace {

class UnitGatherer {
 public:
  // own: this rank's part of every unit, 1-D, of one dtype and device, as long as every other rank's; an empty one is
  // never sent. The group outlives the gatherer.
  UnitGatherer(std::vector<torch::Tensor> own, Group& shard, Reshard reshard);

  // The whole unit, undefined if its parts are empty; waits for it. Then starts gathering `next`, unless it is present
  // or out of range.
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

  std::vector<torch::Tensor> own_;
  Group& shard_;
  Reshard reshard_;
  BufferPool pool_;
  std::vector<Gathered> gathered_;
};

}  // namespace millrace
