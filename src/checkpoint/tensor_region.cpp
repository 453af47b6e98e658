#include "checkpoint/tensor_region.h"

#include <algorithm>

#include "base/error.h"

namespace millrace {
namespace {

// Walks through the stretches of the flattened tensor that make up a region, in ascending order.
class Stretches {
 public:
  Stretches(const std::vector<int64_t>& tensor_shape, const TensorRegion& region) : begin_(region.offset) {
    end_ = begin_ + region.size;
    length_ = region.size;
    if (region.start.empty()) return;
    // Trailing dimensions that the box fills are one stretch together with the dimension before them.
    size_t num_outer = tensor_shape.size();
    int64_t stride = 1;
    bool is_whole = true;
    begin_ = 0;
    end_ = 1;
    for (size_t dim = tensor_shape.size(); dim-- > 0; stride *= tensor_shape[dim]) {
      begin_ += region.start[dim] * stride;
      end_ += (region.start[dim] + region.shape[dim] - 1) * stride;
      if (is_whole) {
        num_outer = dim;
        length_ = region.shape[dim] * stride;
        is_whole = region.shape[dim] == tensor_shape[dim];
      } else {
        outer_.push_back({region.shape[dim], stride, 0});
      }
    }
    MILLRACE_CHECK(outer_.size() == num_outer);
    if (region.size == 0) end_ = begin_;
  }

  int64_t begin() const { return begin_; }    // of the stretch
  int64_t length() const { return length_; }  // of each
  int64_t end_of_all() const { return end_; }
  bool next() {
    for (Outer& outer : outer_) {
      begin_ += outer.stride;
      if (++outer.index < outer.size) return true;
      begin_ -= outer.size * outer.stride;
      outer.index = 0;
    }
    return false;
  }

 private:
  struct Outer {
    int64_t size, stride, index;
  };
  std::vector<Outer> outer_;  // from the innermost to the outermost
  int64_t begin_;
  int64_t end_;
  int64_t length_ = 0;
};

// Stops when action returns false.
void walk(const std::vector<int64_t>& tensor_shape, const TensorRegion& a, const TensorRegion& b,
          const std::function<bool(const CommonRun&)>& action) {
  if (a.size == 0 || b.size == 0) return;
  Stretches of_a(tensor_shape, a), of_b(tensor_shape, b);
  if (of_a.begin() >= of_b.end_of_all() || of_b.begin() >= of_a.end_of_all()) return;
  int64_t passed_a = 0, passed_b = 0;  // elements of the stretches before
  while (true) {
    const int64_t begin = std::max(of_a.begin(), of_b.begin());
    const int64_t end_a = of_a.begin() + of_a.length(), end_b = of_b.begin() + of_b.length();
    const int64_t length = std::min(end_a, end_b) - begin;
    if (length > 0 && !action({passed_a + begin - of_a.begin(), passed_b + begin - of_b.begin(), length})) return;
    Stretches& behind = end_a <= end_b ? of_a : of_b;
    (end_a <= end_b ? passed_a : passed_b) += behind.length();
    if (!behind.next()) return;
  }
}

}  // namespace

void for_each_common_run(const std::vector<int64_t>& tensor_shape, const TensorRegion& a, const TensorRegion& b,
                         const std::function<void(const CommonRun&)>& action) {
  walk(tensor_shape, a, b, [&](const CommonRun& run) {
    action(run);
    return true;
  });
}

bool have_common_elements(const std::vector<int64_t>& tensor_shape, const TensorRegion& a, const TensorRegion& b) {
  bool found = false;
  walk(tensor_shape, a, b, [&](const CommonRun&) {
    found = true;
    return false;
  });
  return found;
}

}  // namespace millrace
