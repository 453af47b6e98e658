#include "formats/tensor_stats.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <vector>

#include "formats/dequantise.h"
#include "formats/element.h"

namespace millrace {
namespace {

constexpr size_t kChunkElements = 4096;  // summed in one go: the mean first, then the squares
constexpr size_t kTaskElements = size_t{1} << 22;

// Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
TensorStats combine(const TensorStats& a, const TensorStats& b) {
  TensorStats both;
  both.finite_count = a.finite_count + b.finite_count;
  both.nan_count = a.nan_count + b.nan_count;
  both.infinity_count = a.infinity_count + b.infinity_count;
  if (a.finite_count == 0 || b.finite_count == 0) {
    const TensorStats& one = a.finite_count ? a : b;
    both.min = one.min, both.max = one.max, both.mean = one.mean, both.sum_of_squares = one.sum_of_squares;
    return both;
  }
  const auto n_a = static_cast<double>(a.finite_count), n_b = static_cast<double>(b.finite_count), n = n_a + n_b;
  const double difference = b.mean - a.mean;
  both.min = std::min(a.min, b.min);
  both.max = std::max(a.max, b.max);
  both.mean = a.mean + difference * (n_b / n);
  both.sum_of_squares = a.sum_of_squares + b.sum_of_squares + difference * difference * (n_a * n_b / n);
  return both;
}

TensorStats chunk_stats(DType dtype, const std::byte* bytes, size_t count) {
  TensorStats stats;
  double finite[kChunkElements];
  size_t n = 0;
  for_each_element(dtype, bytes, count, [&](double value) {
    if (std::isfinite(value)) {
      finite[n++] = value;
    } else {
      ++(std::isnan(value) ? stats.nan_count : stats.infinity_count);
    }
  });
  stats.finite_count = n;
  if (n == 0) return stats;
  stats.min = *std::min_element(finite, finite + n);
  stats.max = *std::max_element(finite, finite + n);
  double offset_sum = 0;  // from the first, so that large equal values lose nothing
  for (size_t i = 0; i < n; ++i) offset_sum += (finite[i] - finite[0]) / static_cast<double>(n);
  stats.mean = finite[0] + offset_sum;
  for (size_t i = 0; i < n; ++i) stats.sum_of_squares += (finite[i] - stats.mean) * (finite[i] - stats.mean);
  return stats;
}

// chunk(begin, count): the statistics of elements that follow each other. Chunks begin at multiples of kChunkElements.
template <typename Chunk>
TensorStats stats_in_tasks(size_t count, ThreadPool* pool, Chunk chunk) {
  std::vector<std::future<TensorStats>> tasks;
  TensorStats stats;
  for (size_t begin = 0; begin < count; begin += kTaskElements) {
    const size_t end = std::min(count, begin + kTaskElements);
    const auto task = [=] {
      TensorStats part;
      for (size_t i = begin; i < end; i += kChunkElements)
        part = combine(part, chunk(i, std::min(kChunkElements, end - i)));
      return part;
    };
    if (pool) {
      tasks.push_back(pool->submit(task));
    } else {
      stats = combine(stats, task());
    }
  }
  for (auto& task : tasks) stats = combine(stats, task.get());
  return stats;
}

}  // namespace

double TensorStats::std() const {
  return finite_count ? std::sqrt(sum_of_squares / static_cast<double>(finite_count)) : 0;
}

TensorStats tensor_stats(DType dtype, std::span<const std::byte> bytes, ThreadPool* pool) {
  const size_t count = bytes.size() / size_of(dtype);
  MILLRACE_CHECK(count * size_of(dtype) == bytes.size());
  return stats_in_tasks(count, pool, [=](size_t begin, size_t size) {
    return chunk_stats(dtype, bytes.data() + begin * size_of(dtype), size);
  });
}

TensorStats tensor_stats(BlockFormat format, std::span<const std::byte> bytes, ThreadPool* pool) {
  const BlockFormatInfo& info = block_format_info(format);
  const auto block_elements = static_cast<size_t>(info.elements), block_bytes = static_cast<size_t>(info.bytes);
  const size_t count = bytes.size() / block_bytes * block_elements;
  return stats_in_tasks(count, pool, [=](size_t begin, size_t size) {
    float values[kChunkElements];
    dequantise_blocks(format, bytes.subspan(begin / block_elements * block_bytes, size / block_elements * block_bytes),
                      std::span(values, size));
    return chunk_stats(DType::kF32, reinterpret_cast<const std::byte*>(values), size);
  });
}

}  // namespace millrace
