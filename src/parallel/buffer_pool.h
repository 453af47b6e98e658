// A few large buffers that are used again and again.
//
// An allocator could do it, but collectives run on streams of their own: a buffer that never goes back to the allocator
// cannot be handed to somebody who does not wait for them.
#pragma once

#include <vector>

#include <torch/types.h>

namespace millrace {

class BufferPool {
 public:
  explicit BufferPool(const torch::TensorOptions& options) : options_(options) {}

  // 1-D, of exactly that size, uninitialised: part of the smallest free buffer that is large enough. When all free ones
  // are too small, the largest of them makes room for a new one.
  torch::Tensor take(int64_t size);
  void give_back(torch::Tensor part);
  torch::ScalarType dtype() const { return c10::typeMetaToScalarType(options_.dtype()); }

 private:
  torch::TensorOptions options_;
  std::vector<torch::Tensor> free_;
};

}  // namespace millrace
