#include "metrics/device_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

namespace millrace {

MemoryUse device_memory_since_last_call(torch::Device device) {
  // The virtual interface: no CUDA library is linked.
  c10::DeviceAllocator* allocator = c10::getDeviceAllocator(device.type());
  const auto index = static_cast<c10::DeviceIndex>(device.has_index() ? device.index() : 0);
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto reserved = allocator->getDeviceStats(index).reserved_bytes[kAll];
  const auto [free_bytes, total_bytes] = allocator->getMemoryInfo(index);
  static_cast<void>(free_bytes);
  allocator->resetPeakStats(index);
  return {static_cast<uint64_t>(reserved.peak), static_cast<uint64_t>(reserved.current), total_bytes};
}

}  // namespace millrace
