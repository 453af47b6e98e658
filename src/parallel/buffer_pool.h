// A pool of a few large, reused buffers.
//
// An allocator would do, but collectives run on their own streams: a buffer that is never returned to the allocator
// cannot be handed to code that does not wait for them.
#pragma once

#include <vector>

#include <torch/types.h>

namespace millrace {

class BufferPool {
 public:
  explicit BufferPool(const torch::TensorOptions& options) : options_(options) {}

  // 1-D, of exactly that size, uninitialised: part of the smallest free buffer that is large enough, but not four times
  // too large: it stays for large units, so that there need not be two of it. If there is none, a new one replaces the
  // largest free one that is too small, but not four times too small.
  torch::Tensor take(int64_t size);
  void give_back(torch::Tensor part);
  torch::ScalarType dtype() const { return c10::typeMetaToScalarType(options_.dtype()); }

 private:
  torch::TensorOptions options_;
  std::vector<torch::Tensor> free_;
};

}  // namespace millrace
