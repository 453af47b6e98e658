#include "parallel/handed_gradients.h"

#include <algorithm>
#include <utility>

#include "nn/cpu_allocator.h"
#include "nn/meta_memory.h"

namespace millrace {

// Buffers are made before there are activations: between these they would leave holes.
HandedGradients::HandedGradients(const FlatLayout& layout, const UseOrder& order, const torch::TensorOptions& options)
    : layout_(layout), options_(options), whole_(layout.units().size()) {
  int64_t largest = 0;
  for (size_t unit = 0; unit < whole_.size(); ++unit) {
    const int64_t size = layout.units()[unit].size;
    if (order.is_used_again(unit)) {
      add_buffer(size);
    } else {
      largest = std::max(largest, size);
    }
  }
  if (largest > 0) add_buffer(largest);
}

void HandedGradients::add_buffer(int64_t size) {
  const MetaMemoryLabel label("gradients");
  buffers_.push_back({zeros_when_touched({size}, options_)});
}

// Part of the smallest free buffer that is large enough.
torch::Tensor HandedGradients::take(int64_t size) {
  size_t best = buffers_.size();
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const auto size_of = [&](size_t number) { return buffers_[number].memory.numel(); };
    const bool fits = buffers_[i].is_free && size_of(i) >= size;
    if (fits && (best == buffers_.size() || size_of(i) < size_of(best))) best = i;
  }
  if (best == buffers_.size()) add_buffer(size);  // units that are in use together
  buffers_[best].is_free = false;
  return buffers_[best].memory.narrow(0, 0, size);
}

const torch::Tensor& HandedGradients::enter(size_t unit) {
  torch::Tensor& whole = whole_[unit];
  if (!whole.defined()) {
    whole = take(layout_.units()[unit].size);
    whole.zero_();
  }
  return whole;
}

void HandedGradients::leave(size_t unit, bool complete) {
  if (!complete) return;
  const torch::Tensor whole = std::exchange(whole_[unit], {});
  if (receiver_) receiver_(unit, whole);
  for (Buffer& buffer : buffers_) buffer.is_free = buffer.is_free || buffer.memory.is_alias_of(whole);
}

}  // namespace millrace
