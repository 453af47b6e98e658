// A caching allocator for large CPU tensors.
//
// glibc gives every block above 32 MiB back to the system when it is freed, so that each step faults the same pages in
// again: a tenth of a training step on a CPU. This one keeps what it has (base/block_arena.h), and asks for huge pages.
#pragma once

#include <cstddef>

namespace millrace {

// Puts the allocator below every CPU tensor made from now on; small blocks come from the heap as before. Call once,
// early.
void install_caching_cpu_allocator();

struct CpuAllocatorStats {
  size_t bytes_in_use = 0;
  size_t bytes_cached = 0;       // free, kept for the next request
  size_t peak_bytes_in_use = 0;  // of large blocks
};
CpuAllocatorStats cpu_allocator_stats();

// What cpu_allocator_stats() counts for a request: rounded up when the block is a large one.
size_t counted_cpu_bytes(size_t bytes);

}  // namespace millrace
