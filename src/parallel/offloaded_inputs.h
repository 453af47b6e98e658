// The inputs of a model's blocks, in host memory from the forward pass until the backward pass needs them:
// activation_checkpoint.offload.
//
// A block's inputs are copied there while the block after it computes, and then their memory on the device is free. The
// backward pass fetches them ahead, into two buffers (unit_fetcher.h). So the device holds those of two blocks at any
// time. Host memory stays for the next pass. One pass at a time; blocks have the numbers of their units.
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "parallel/copy_stream.h"
#include "parallel/unit_fetcher.h"

namespace millrace {

class OffloadedInputs {
 public:
  explicit OffloadedInputs(torch::Device device) : copies_(device) {}
  ~OffloadedInputs() { let_go(); }
  OffloadedInputs(const OffloadedInputs&) = delete;
  OffloadedInputs& operator=(const OffloadedInputs&) = delete;

  // Forgets a pass that has ended early.
  void start_forward();
  // After a block's forward pass, first to last: takes its inputs, which must be contiguous and held by nothing else.
  void take(size_t unit, const std::vector<torch::Tensor*>& inputs);

  // Starts to fetch the inputs of the last block.
  void start_backward();
  // Before a block's backward pass, last to first: gives its inputs back as they were, until leave(), and starts to
  // fetch those of the block before it.
  void enter(size_t unit, const std::vector<torch::Tensor*>& inputs);
  void leave();
  void finish_backward();  // frees both buffers

  int64_t host_bytes(size_t unit) const;  // in the last pass
  // Blocks whose inputs are on the device: being copied to the host, or in buffers.
  std::vector<size_t> held() const;

 private:
  struct Shape {
    std::vector<int64_t> sizes;
    torch::Dtype dtype;
  };
  struct Kept {
    torch::Tensor host;  // of the largest pass so far
    int64_t bytes = 0;   // of it, in this pass
    std::vector<Shape> shapes;
  };
  // The inputs being copied may go once the computation, which takes over their memory, waits for their copies.
  void let_go();

  CopyStream copies_;
  std::map<size_t, Kept> kept_;
  std::vector<torch::Tensor> leaving_;  // inputs of the block taken last
  size_t leaving_unit_ = 0;
  CopyStream::Moment computed_, copied_;
  std::unique_ptr<UnitFetcher> fetcher_;  // in a backward pass
};

}  // namespace millrace
