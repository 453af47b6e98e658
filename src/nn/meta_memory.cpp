#include "nn/meta_memory.h"

#include <c10/core/Allocator.h>
#include <torch/types.h>

#include <mutex>

#include "base/error.h"

namespace millrace {

struct MetaMemory::Counter {
  std::mutex mutex;
  size_t (*rounding)(size_t) = nullptr;
  Use live, peak;

  void add(const char* label, int64_t bytes) {
    const std::lock_guard lock(mutex);
    live.bytes += bytes;
    live.by_label[label] += bytes;
    if (live.bytes > peak.bytes) peak = live;
  }
};

namespace {

thread_local const char* current_label = "other";

std::mutex counter_mutex;
std::shared_ptr<MetaMemory::Counter> current_counter;

struct Block {
  std::shared_ptr<MetaMemory::Counter> counter;
  const char* label;
  int64_t bytes;
};

void release(void* pointer) {
  const std::unique_ptr<Block> block(static_cast<Block*>(pointer));
  block->counter->add(block->label, -block->bytes);
}

class CountingMetaAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device meta(c10::DeviceType::Meta);
    std::shared_ptr<MetaMemory::Counter> counter;
    {
      const std::lock_guard lock(counter_mutex);
      counter = current_counter;
    }
    if (!counter || bytes == 0) return {nullptr, meta};
    const auto rounded = static_cast<int64_t>(counter->rounding ? counter->rounding(bytes) : bytes);
    counter->add(current_label, rounded);
    // No data, but a context that is destroyed with the tensor.
    return {nullptr, new Block{counter, current_label, rounded}, &release, meta};
  }
  void copy_data(void*, const void*, std::size_t) const override {}
};

}  // namespace

MetaMemory::MetaMemory(size_t (*rounding)(size_t)) : counter_(std::make_shared<Counter>()) {
  static CountingMetaAllocator* const allocator = [] {
    auto* const fresh = new CountingMetaAllocator;  // lives as long as any tensor
    c10::SetAllocator(c10::DeviceType::Meta, fresh, /*priority=*/100);
    return fresh;
  }();
  static_cast<void>(allocator);
  counter_->rounding = rounding;
  const std::lock_guard lock(counter_mutex);
  MILLRACE_CHECK(current_counter == nullptr);
  current_counter = counter_;
}

MetaMemory::~MetaMemory() {
  const std::lock_guard lock(counter_mutex);
  current_counter = nullptr;
}

MetaMemory::Use MetaMemory::live() const {
  const std::lock_guard lock(counter_->mutex);
  return counter_->live;
}

MetaMemory::Use MetaMemory::peak() const {
  const std::lock_guard lock(counter_->mutex);
  return counter_->peak;
}

void MetaMemory::restart_peak() {
  const std::lock_guard lock(counter_->mutex);
  counter_->peak = counter_->live;
}

MetaMemoryLabel::MetaMemoryLabel(const char* label) : previous_(current_label) {
  current_label = label;
}

MetaMemoryLabel::~MetaMemoryLabel() {
  current_label = previous_;
}

}  // namespace millrace
