#include "nn/cpu_allocator.h"

#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <torch/torch.h>

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <vector>

namespace millrace {
namespace {

constexpr size_t kLargeBytes = size_t{1} << 20;
constexpr size_t kHugePage = size_t{2} << 20;

// Eight sizes per power of two: at most 12 % is lost to rounding, and buffers of nearly the same size share.
size_t rounded_size(size_t bytes) {
  const size_t step = std::max(std::bit_floor(bytes) / 8, kLargeBytes / 8);
  return (bytes + step - 1) / step * step;
}

class CachingCpuAllocator final : public c10::Allocator {
 public:
  explicit CachingCpuAllocator(c10::Allocator* small) : small_(small) {}

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes < kLargeBytes) return small_->allocate(bytes);
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

  // DataPtrs come from two sources with different deleters, so there is no single one to offer.
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }

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
    const size_t size = self.sizes_.at(block);
    self.free_[size].push_back(block);
    self.stats_.bytes_in_use -= size;
    self.stats_.bytes_cached += size;
  }

  c10::Allocator* small_;
  mutable std::mutex mutex_;
  std::map<void*, size_t> sizes_;
  std::map<size_t, std::vector<void*>> free_;
  CpuAllocatorStats stats_;
};

}  // namespace

void install_caching_cpu_allocator() {
  if (CachingCpuAllocator::instance() != nullptr) return;
  CachingCpuAllocator::instance() = new CachingCpuAllocator(c10::GetCPUAllocator());  // lives as long as any tensor
  c10::SetCPUAllocator(CachingCpuAllocator::instance(), /*priority=*/100);
}

CpuAllocatorStats cpu_allocator_stats() {
  return CachingCpuAllocator::instance() ? CachingCpuAllocator::instance()->stats() : CpuAllocatorStats{};
}

void release_cached_cpu_memory() {
  if (CachingCpuAllocator::instance()) CachingCpuAllocator::instance()->release();
}

}  // namespace millrace
