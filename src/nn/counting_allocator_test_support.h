// How much memory CPU tensors take, for tests.
#pragma once

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>

namespace millrace {

// While it lives, counts the bytes of live CPU tensors that are made, and of the scratch memory of their products.
class CountingAllocator : public c10::Allocator {
 public:
  CountingAllocator() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, kPriority); }
  ~CountingAllocator() override { c10::SetCPUAllocator(before_, kPriority); }
  c10::DataPtr allocate(size_t bytes) override {
    live_ += bytes;
    peak_ = std::max(peak_, live_);
    // torch's own libraries ask for memory that is its own context, so that what is known of a block lies in front.
    auto* block = static_cast<Block*>(std::aligned_alloc(kAlignment, kAlignment + round_up(bytes)));
    *block = {bytes, this};
    void* data = reinterpret_cast<std::byte*>(block) + kAlignment;
    return {data, data, &CountingAllocator::free, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &CountingAllocator::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
  // Peak above what lives now, from now on.
  void begin() { peak_ = base_ = live_; }
  size_t peak() const { return peak_ - base_; }
  size_t live() const { return live_; }

 private:
  struct Block {
    size_t bytes;
    CountingAllocator* owner;
  };
  static constexpr size_t kAlignment = 64;
  static size_t round_up(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
  static void free(void* data) {
    auto* block = reinterpret_cast<Block*>(static_cast<std::byte*>(data) - kAlignment);
    block->owner->live_ -= block->bytes;
    std::free(block);
  }
  static constexpr uint8_t kPriority = 100;  // that of the caching allocator
  c10::Allocator* before_;
  size_t live_ = 0, peak_ = 0, base_ = 0;
};

}  // namespace millrace
