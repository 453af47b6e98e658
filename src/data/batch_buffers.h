// Reuses the memory of batches: touching fresh pages costs as much as decoding a small picture.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace millrace {

class BatchBuffers {
 public:
  // How many unused buffers are kept; others are freed.
  // pinned: buffers that a GPU can copy from by itself, for which torch's allocator of such memory does the keeping: it
  // also knows when the copies are over.
  explicit BatchBuffers(size_t max_kept, bool pinned = false)
      : pinned_(pinned), free_(std::make_shared<FreeList>(max_kept)) {}
  BatchBuffers(BatchBuffers&&) = default;  // a copy would share the memory, and sizes would mix

  // An uninitialised tensor whose memory returns here when the last tensor that shares it is destroyed, on any thread,
  // even after this object is gone. All tensors of one BatchBuffers should have the same size and dtype.
  torch::Tensor make(at::IntArrayRef sizes, torch::Dtype dtype = torch::kFloat32);

 private:
  struct FreeList {
    explicit FreeList(size_t max) : max_kept(max) {}
    std::mutex mutex;
    size_t max_kept;
    std::vector<torch::Tensor> tensors;
  };
  bool pinned_;
  std::shared_ptr<FreeList> free_;
};

}  // namespace millrace
