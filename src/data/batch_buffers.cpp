#include "data/batch_buffers.h"

#include <utility>

namespace millrace {

torch::Tensor BatchBuffers::make(at::IntArrayRef sizes, torch::Dtype dtype) {
  if (pinned_) return torch::empty(sizes, torch::dtype(dtype).pinned_memory(true));
  torch::Tensor memory;
  {
    const std::lock_guard lock(free_->mutex);
    if (!free_->tensors.empty()) {
      memory = std::move(free_->tensors.back());
      free_->tensors.pop_back();
    }
  }
  if (!memory.defined() || memory.sizes() != sizes || memory.scalar_type() != dtype) {
    memory = torch::empty(sizes, dtype);
  }
  // The returned tensor borrows from `memory`, which its deleter keeps alive and returns.
  const auto give_back = [free = free_, memory](void*) {
    const std::lock_guard lock(free->mutex);
    if (free->tensors.size() < free->max_kept) free->tensors.push_back(memory);
  };
  return torch::from_blob(memory.data_ptr(), sizes, give_back, dtype);
}

}  // namespace millrace
