// Gradients of whole units into sums over the data ranks, each rank keeping its part.
//
// A unit's backward pass adds into a whole buffer; leaving it starts the reduce-scatter over the shard axis, then the
// all-reduce over the replicas, while the next unit computes. Two whole buffers suffice.
#pragma once

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
  // own: this rank's gradients of all units, which sums are added to. layout and groups outlive the reducer.
  GradientReducer(const FlatLayout& layout, Group& shard, Group& replicate, const torch::Tensor& own,
                  torch::Dtype compute_dtype, torch::Dtype reduce_dtype);

  // The whole unit's gradients, to be added to.
  const torch::Tensor& enter(size_t unit);
  // complete: reduce all that was added. Otherwise keep it, in fp32, for what comes: another use of the unit in this
  // pass, or another microbatch.
  void leave(size_t unit, bool complete);
  void finish();  // waits for all that was started
  const torch::Tensor& whole(size_t unit) const { return whole_[unit]; }

 private:
  struct Reduction {
    size_t unit = 0;
    bool scattered = false;     // the reduce-scatter is done; the all-reduce runs
    torch::Tensor whole, part;  // reduce_dtype; whole goes back to its pool after the reduce-scatter
    Work work;
  };
  // One step forward with everything under way.
  void advance();
  // The same numbers in reduce_dtype; what they lay in goes back to its pool.
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
  std::vector<torch::Tensor> sums_;   // per unit, fp32: what a narrower compute_dtype has added so far
  std::deque<Reduction> running_;     // the oldest first
};

}  // namespace millrace
