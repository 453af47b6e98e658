#include "nn/cpu_allocator.h"

#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <torch/types.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace millrace {
namespace {

constexpr size_t kLargeBytes = size_t{1} << 20;
constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

// Eight sizes per power of two: at most 12 % is lost to rounding, and buffers of nearly the same size share.
size_t rounded_size(size_t bytes) {
  const size_t step = std::max(std::bit_floor(bytes) / 8, kLargeBytes / 8);
  return (bytes + step - 1) / step * step;
}

class CachingCpuAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &CachingCpuAllocator::give_back, c10::Device(c10::DeviceType::CPU)};
    if (bytes < kLargeBytes) {
      void* small = nullptr;
      if (::posix_memalign(&small, kCacheLine, bytes) != 0) throw std::bad_alloc();
      return {small, small, &CachingCpuAllocator::give_back, c10::Device(c10::DeviceType::CPU)};
    }
    const size_t size = rounded_size(bytes);
    void* block = take(size);
    if (block == nullptr) {
      // Aligned to a huge page, so that the kernel can back the block with them.
      void* fresh = nullptr;
      const size_t alignment = size >= kHugePage ? kHugePage : size_t{4096};
      if (::posix_memalign(&fresh, alignment, size) != 0 || fresh == nullptr) {
        release();
        if (::posix_memalign(&fresh, alignment, size) != 0) throw std::bad_alloc();
      }
      if (size >= kHugePage) ::madvise(fresh, size, MADV_HUGEPAGE);
      const std::lock_guard lock(mutex_);
      sizes_[fresh] = size;
      count_in_use(size);
      block = fresh;
    }
    return {block, block, &CachingCpuAllocator::give_back, c10::Device(c10::DeviceType::CPU)};
  }

  // oneDNN allocates and frees by plain pointers through this.
  c10::DeleterFnPtr raw_deleter() const override { return &CachingCpuAllocator::give_back; }

  void copy_data(void* dest, const void* src, std::size_t count) const override { default_copy_data(dest, src, count); }

  void release() {
    const std::lock_guard lock(mutex_);
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks) {
        sizes_.erase(block);
        std::free(block);
      }
    }
    free_.clear();
    stats_.bytes_cached = 0;
  }

  CpuAllocatorStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  static CachingCpuAllocator*& instance() {
    static CachingCpuAllocator* allocator = nullptr;
    return allocator;
  }

 private:
  void* take(size_t size) {
    const std::lock_guard lock(mutex_);
    const auto found = free_.find(size);
    if (found == free_.end() || found->second.empty()) return nullptr;
    void* block = found->second.back();  // the one used last is the one still in the cache
    found->second.pop_back();
    stats_.bytes_cached -= size;
    count_in_use(size);
    return block;
  }

  void count_in_use(size_t size) {
    stats_.bytes_in_use += size;
    stats_.peak_bytes_in_use = std::max(stats_.peak_bytes_in_use, stats_.bytes_in_use);
  }

  static void give_back(void* block) {
    CachingCpuAllocator& self = *instance();
    const std::lock_guard lock(self.mutex_);
    const auto found = self.sizes_.find(block);
    if (found == self.sizes_.end()) return std::free(block);
    const size_t size = found->second;
    self.free_[size].push_back(block);
    self.stats_.bytes_in_use -= size;
    self.stats_.bytes_cached += size;
  }

  mutable std::mutex mutex_;
  std::unordered_map<void*, size_t> sizes_;  // of the large blocks
  std::map<size_t, std::vector<void*>> free_;
  CpuAllocatorStats stats_;
};

}  // namespace

void install_caching_cpu_allocator() {
  if (CachingCpuAllocator::instance() != nullptr) return;
  CachingCpuAllocator::instance() = new CachingCpuAllocator;  // lives as long as any tensor
  c10::SetCPUAllocator(CachingCpuAllocator::instance(), /*priority=*/100);
}

CpuAllocatorStats cpu_allocator_stats() {
  return CachingCpuAllocator::instance() ? CachingCpuAllocator::instance()->stats() : CpuAllocatorStats{};
}

size_t counted_cpu_bytes(size_t bytes) {
  return bytes < kLargeBytes ? bytes : rounded_size(bytes);
}

void release_cached_cpu_memory() {
  if (CachingCpuAllocator::instance()) CachingCpuAllocator::instance()->release();
}

}  // namespace millrace
