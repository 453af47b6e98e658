#include "nn/cpu_allocator.h"

#include <c10/core/CPUAllocator.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <unordered_map>

#include "base/block_arena.h"

namespace millrace {
namespace {

constexpr size_t kLargeBytes = size_t{1} << 20;
constexpr size_t kCacheLine = 64;

size_t rounded_size(size_t bytes) {
  return (bytes + BlockArena::kGranule - 1) / BlockArena::kGranule * BlockArena::kGranule;
}

// Set while a thread asks for memory that nothing has touched.
thread_local bool wants_untouched = false;

class CachingCpuAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &CachingCpuAllocator::give_back, c10::Device(c10::DeviceType::CPU)};
    void* block = nullptr;
    if (bytes < kLargeBytes) {
      if (::posix_memalign(&block, kCacheLine, bytes) != 0) throw std::bad_alloc();
    } else {
      block = take(rounded_size(bytes));
    }
    return {block, block, &CachingCpuAllocator::give_back, c10::Device(c10::DeviceType::CPU)};
  }

  // oneDNN allocates and frees by plain pointers through this.
  c10::DeleterFnPtr raw_deleter() const override { return &CachingCpuAllocator::give_back; }

  void copy_data(void* dest, const void* src, std::size_t count) const override { default_copy_data(dest, src, count); }

  CpuAllocatorStats stats() const {
    const std::lock_guard lock(mutex_);
    CpuAllocatorStats stats = stats_;
    stats.bytes_cached = arena_.bytes_free();
    return stats;
  }

  static CachingCpuAllocator*& instance() {
    static CachingCpuAllocator* allocator = nullptr;
    return allocator;
  }

 private:
  void* take(size_t size) {
    std::byte* block = nullptr;
    size_t in_use = 0;
    {
      const std::lock_guard lock(mutex_);
      block = wants_untouched ? arena_.take_untouched(size) : arena_.take(size);
      if (block == nullptr) throw std::bad_alloc();
      sizes_[block] = size;
      in_use = stats_.bytes_in_use += size;
      stats_.peak_bytes_in_use = std::max(stats_.peak_bytes_in_use, stats_.bytes_in_use);
    }
    report(block, static_cast<int64_t>(size), in_use);
    return block;
  }

  static void give_back(void* block) {
    CachingCpuAllocator& self = *instance();
    size_t size = 0, in_use = 0;
    {
      const std::lock_guard lock(self.mutex_);
      const auto found = self.sizes_.find(block);
      if (found == self.sizes_.end()) return std::free(block);
      size = found->second;
      self.arena_.give_back(static_cast<std::byte*>(block), size);
      in_use = self.stats_.bytes_in_use -= size;
      self.sizes_.erase(found);
    }
    report(block, -static_cast<int64_t>(size), in_use);
  }

  // To a profiler that records memory. Small blocks do not say their size when they are freed.
  static void report(void* block, int64_t size, size_t in_use) {
    if (!c10::memoryProfilingEnabled()) return;
    c10::reportMemoryUsageToProfiler(block, size, in_use, in_use, c10::Device(c10::DeviceType::CPU));
  }

  mutable std::mutex mutex_;
  BlockArena arena_;
  std::unordered_map<void*, size_t> sizes_;  // of the large blocks in use
  CpuAllocatorStats stats_;
};

}  // namespace

void install_caching_cpu_allocator() {
  if (CachingCpuAllocator::instance() != nullptr) return;
  CachingCpuAllocator::instance() = new CachingCpuAllocator;  // lives as long as any tensor
  c10::SetCPUAllocator(CachingCpuAllocator::instance(), /*priority=*/100);
}

torch::Tensor zeros_when_touched(at::IntArrayRef sizes, const torch::TensorOptions& options) {
  const size_t bytes = static_cast<size_t>(c10::multiply_integers(sizes)) * options.dtype().itemsize();
  if (!options.device().is_cpu() || CachingCpuAllocator::instance() == nullptr || bytes < kLargeBytes) {
    return torch::zeros(sizes, options);
  }
  struct Scope {
    Scope() { wants_untouched = true; }
    ~Scope() { wants_untouched = false; }
  };
  const Scope scope;
  return torch::empty(sizes, options);
}

CpuAllocatorStats cpu_allocator_stats() {
  return CachingCpuAllocator::instance() ? CachingCpuAllocator::instance()->stats() : CpuAllocatorStats{};
}

size_t counted_cpu_bytes(size_t bytes) {
  return bytes < kLargeBytes ? bytes : rounded_size(bytes);
}

}  // namespace millrace
