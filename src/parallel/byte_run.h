// Tensors one after the other in one run of bytes, which is copied as a whole.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace millrace {

// The bytes that the tensor takes in a run: up to where the next one is aligned for every kernel.
int64_t bytes_in_run(const torch::Tensor& x);

// Finds them again, in the order in which they were put there.
class ByteRun {
 public:
  explicit ByteRun(torch::Tensor bytes) : bytes_(std::move(bytes)) {}  // uint8, 1-D

  // A view of the next tensor, contiguous.
  torch::Tensor next(c10::IntArrayRef sizes, torch::Dtype dtype);

 private:
  torch::Tensor bytes_;
  int64_t begin_ = 0;
};

// A tensor [size] on the meta device, for which no plan counts any bytes. It cannot be viewed as another dtype.
torch::Tensor without_memory(int64_t size, torch::Dtype dtype);

}  // namespace millrace
