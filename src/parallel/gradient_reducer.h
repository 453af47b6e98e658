// Reduces the gradients of whole units to sums over the data ranks, of which each rank keeps its part.
//
// A unit's backward pass adds into a whole buffer; its end starts the reduce-scatter over the shard axis, then the
// all-reduce over the replicas, while the next unit computes. Two whole buffers suffice. On a single data rank nothing
// is sent, and a unit's gradients are just added to the sums.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include <torch/types.h>

#include "comm/group.h"
#include "parallel/buffer_pool.h"
#include "parallel/flat_layout.h"

namespace millrace {

class GradientReducer {
 public:
  // own: this rank's gradients of all units, to which the sums are added. layout and groups outlive the reducer.
  GradientReducer(const FlatLayout& layout, Group& shard, Group& replicate, const torch::Tensor& own,
                  torch::Dtype compute_dtype, torch::Dtype reduce_dtype);

  // The whole unit's gradients, to be added to.
  const torch::Tensor& enter(size_t unit);
  // complete: reduce everything that was added. Otherwise keep it, in fp32, for another use of the unit in this
  // pass or another microbatch.
  void leave(size_t unit, bool complete);
  void finish();  // waits for all started reductions
  // From now on additions to `own`, if it is narrow, round up or down at random: many microbatches are added to it, and
  // what is small beside the sum so far must count. number: of the microbatch, in the whole run; the same seed and
  // number give the same bits.
  void round_at_random(uint64_t seed, int64_t number);
  const torch::Tensor& whole(size_t unit) const { return whole_[unit]; }

 private:
  struct Reduction {
    size_t unit = 0;
    bool scattered = false;     // the reduce-scatter is done; the all-reduce runs
    torch::Tensor whole, part;  // reduce_dtype; whole is returned to its pool after the reduce-scatter
    Work work;
  };
  // Advances all pending reductions by one step.
  void advance();
  // The same numbers in reduce_dtype; their old buffer is returned to its pool.
  void add_to_own(size_t unit, torch::Tensor& part);
  torch::Tensor converted(torch::Tensor whole);
  void give_back(torch::Tensor whole);

  const FlatLayout& layout_;
  Group& shard_;
  Group& replicate_;
  torch::Tensor own_;
  torch::Dtype reduce_dtype_;
  BufferPool pool_;                          // compute_dtype
  std::map<torch::Dtype, BufferPool> wide_;  // whole units in other dtypes
  BufferPool part_pool_;
  std::vector<torch::Tensor> whole_;  // per unit, compute_dtype; undefined when it holds nothing
  std::vector<torch::Tensor> sums_;   // per unit, fp32: sums so far for a narrower compute_dtype
  std::deque<Reduction> running_;     // the oldest first
  uint64_t seed_ = 0;
  int64_t number_ = 0;  // of the microbatch; 0: additions round to nearest
};

}  // namespace millrace
