// How much memory CPU tensors take, for tests.
#pragma once

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace millrace {

// While it lives, counts the bytes of live CPU tensors that are made.
class CountingAllocator : public c10::Allocator {
 public:
  CountingAllocator() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, kPriority); }
  ~CountingAllocator() override { c10::SetCPUAllocator(before_, kPriority); }
  c10::DataPtr allocate(size_t bytes) override {
    live_ += bytes;
    peak_ = std::max(peak_, live_);
    void* data = std::malloc(std::max<size_t>(bytes, 1));
    return {data, new Block{data, bytes, this}, &CountingAllocator::free, c10::Device(c10::kCPU)};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
  // Peak above what lives now, from now on.
  void begin() { peak_ = base_ = live_; }
  size_t peak() const { return peak_ - base_; }

 private:
  struct Block {
    void* data;
    size_t bytes;
    CountingAllocator* owner;
  };
  static void free(void* context) {
    const std::unique_ptr<Block> block(static_cast<Block*>(context));
    block->owner->live_ -= block->bytes;
    std::free(block->data);
  }
  static constexpr uint8_t kPriority = 100;  // that of the caching allocator
  c10::Allocator* before_;
  size_t live_ = 0, peak_ = 0, base_ = 0;
};

}  // namespace millrace
