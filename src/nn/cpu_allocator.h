// A caching allocator for large CPU tensors.
//
// glibc returns every block above 32 MiB to the system when it is freed, so that each step faults the same pages in
// again: a tenth of a training step on a CPU. This one keeps its memory (base/block_arena.h) and requests huge pages.
#pragma once

#include <torch/types.h>

#include <cstddef>

namespace millrace {

// Installs the allocator for every CPU tensor made from now on; small blocks, below 1 MiB, still come from the heap.
// Large ones are reported to a profiler that records memory. Call once, early.
void install_caching_cpu_allocator();

// Zeros. On a CPU a large tensor gets memory that the system provides, as zeros, when it is first touched: what is made
// before a first step then costs no time before that step.
torch::Tensor zeros_when_touched(at::IntArrayRef sizes, const torch::TensorOptions& options);

struct CpuAllocatorStats {
  size_t bytes_in_use = 0;
  size_t bytes_cached = 0;       // free, kept for the next request
  size_t peak_bytes_in_use = 0;  // of large blocks
};
CpuAllocatorStats cpu_allocator_stats();

// The bytes that cpu_allocator_stats() counts for a request: rounded up for large blocks.
size_t counted_cpu_bytes(size_t bytes);

}  // namespace millrace
