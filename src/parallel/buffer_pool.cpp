#include "parallel/buffer_pool.h"

#include <algorithm>
#include <iterator>

#include "nn/meta_memory.h"

namespace millrace {
namespace {

// So many times larger or smaller, a buffer is another kind of unit's.
constexpr int64_t kOtherKind = 4;

int64_t capacity(const torch::Tensor& buffer) {
  return static_cast<int64_t>(buffer.storage().nbytes()) / buffer.element_size();
}

}  // namespace

torch::Tensor BufferPool::take(int64_t size) {
  // free_ ascends by capacity.
  const auto fitting = std::find_if(free_.begin(), free_.end(), [&](const auto& b) { return capacity(b) >= size; });
  if (fitting != free_.end() && capacity(*fitting) / kOtherKind < size) {
    const torch::Tensor buffer = *fitting;
    free_.erase(fitting);
    return buffer.as_strided({size}, {1}, 0);
  }
  if (fitting != free_.begin() && capacity(*std::prev(fitting)) > size / kOtherKind) free_.erase(std::prev(fitting));
  const MetaMemoryLabel label("collective buffers");
  return torch::empty({size}, options_);
}

void BufferPool::give_back(torch::Tensor part) {
  const auto larger = std::find_if(free_.begin(), free_.end(),
                                   [&](const torch::Tensor& buffer) { return capacity(buffer) > capacity(part); });
  free_.insert(larger, std::move(part));
}

}  // namespace millrace
