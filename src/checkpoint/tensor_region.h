// Which part of a tensor a piece is, and where two pieces of the same tensor overlap.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace millrace {

// A part of a tensor in row-major order. With `start`, a box: its first corner and sizes. Without, a run of `size`
// elements of the flattened tensor from `offset` on.
struct TensorRegion {
  int64_t offset = 0;
  int64_t size = 0;                   // elements, also for a box
  std::vector<int64_t> start, shape;  // empty for a run
};

// `length` elements that are consecutive in both regions, starting `from_a` and `from_b` elements into them.
struct CommonRun {
  int64_t from_a = 0;
  int64_t from_b = 0;
  int64_t length = 0;
};

// Calls action for every stretch of elements that both regions hold, each element once, in the longest possible
// stretches. Both regions must lie inside the tensor.
void for_each_common_run(const std::vector<int64_t>& tensor_shape, const TensorRegion& a, const TensorRegion& b,
                         const std::function<void(const CommonRun&)>& action);

// Whether the regions overlap.
bool have_common_elements(const std::vector<int64_t>& tensor_shape, const TensorRegion& a, const TensorRegion& b);

}  // namespace millrace
