// Minimum, maximum, mean and standard deviation of a tensor's bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/block_format.h"
#include "base/thread_pool.h"
#include "formats/dtype.h"

namespace millrace {

// Over the finite elements; min and max are meaningless when there are none.
struct TensorStats {
  uint64_t finite_count = 0;
  uint64_t nan_count = 0;
  uint64_t infinity_count = 0;
  double min = 0;
  double max = 0;
  double mean = 0;
  double sum_of_squares = 0;  // of the differences from the mean

  double std() const;  // of the population (divided by the count, not by one less); 0 for no elements
};

// bytes: a whole number of elements, possibly unaligned. pool: nullptr: use the calling thread; the result is the same.
TensorStats tensor_stats(DType dtype, std::span<const std::byte> bytes, ThreadPool* pool);
// The same of the values in whole blocks.
TensorStats tensor_stats(BlockFormat format, std::span<const std::byte> bytes, ThreadPool* pool);

}  // namespace millrace
