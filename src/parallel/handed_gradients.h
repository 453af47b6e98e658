// Gradients that exist for one unit at a time: a unit's backward pass adds into a buffer, its end hands that over, and
// the next unit gets the same memory. For optimizers that change weights during the backward pass, on one rank.
#pragma once

#include <functional>
#include <vector>

#include <torch/types.h>

#include "parallel/flat_layout.h"
#include "parallel/use_order.h"

namespace millrace {

class HandedGradients {
 public:
  // grad: of the unit, 1-D, in the layout of its parameters; the receiver may write to it, and it is another unit's
  // once the call is over.
  using Receiver = std::function<void(size_t unit, const torch::Tensor& grad)>;

  // options: of the buffers. Units that a pass uses again have one of their own, the others share one. layout outlives
  // this.
  HandedGradients(const FlatLayout& layout, const UseOrder& order, const torch::TensorOptions& options);

  void set_receiver(Receiver receiver) { receiver_ = std::move(receiver); }
  // The unit's gradients, to be added to: zeros, or what was added before if they are not complete yet.
  const torch::Tensor& enter(size_t unit);
  void leave(size_t unit, bool complete);
  const torch::Tensor& whole(size_t unit) const { return whole_[unit]; }

 private:
  void add_buffer(int64_t size);
  torch::Tensor take(int64_t size);

  const FlatLayout& layout_;
  torch::TensorOptions options_;
  struct Buffer {
    torch::Tensor memory;
    bool is_free = true;
  };
  std::vector<Buffer> buffers_;       // all that were ever needed at once
  std::vector<torch::Tensor> whole_;  // per unit; undefined when it holds nothing
  Receiver receiver_;                 // none: gradients are dropped
};

}  // namespace millrace
