#include "parallel/use_order.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace millrace {

UseOrder::UseOrder(std::vector<size_t> order, size_t num_units) : order_(std::move(order)) {
  if (order_.empty()) {
    order_.resize(num_units);
    std::iota(order_.begin(), order_.end(), size_t{0});
  }
  for (const size_t unit : order_) MILLRACE_CHECK(unit < num_units);
  for (size_t unit = 0; unit < num_units; ++unit) {
    MILLRACE_CHECK(std::find(order_.begin(), order_.end(), unit) != order_.end());
  }
}

bool UseOrder::is_used_again(size_t unit) const {
  return std::count(order_.begin(), order_.end(), unit) > 1;
}

UseOrder::Use UseOrder::forward(size_t unit) {
  backward_ = kNone;
  const size_t following = forward_ + 1;  // kNone + 1 is 0
  const bool follows = following < order_.size() && order_[following] == unit;
  forward_ = follows ? following : static_cast<size_t>(std::find(order_.begin(), order_.end(), unit) - order_.begin());
  const auto rest = order_.begin() + static_cast<std::ptrdiff_t>(forward_) + 1;
  return {.next = rest == order_.end() ? kNone : *rest,
          .ends_pass = rest == order_.end(),
          .completes_unit = std::find(rest, order_.end(), unit) == order_.end()};
}

UseOrder::Use UseOrder::backward(size_t unit) {
  forward_ = kNone;
  const size_t following = (backward_ == kNone ? order_.size() : backward_) - 1;  // 0 - 1 is kNone
  const bool follows = following != kNone && order_[following] == unit;
  backward_ = follows ? following
                      : order_.size() - 1 -
                            static_cast<size_t>(std::find(order_.rbegin(), order_.rend(), unit) - order_.rbegin());
  const auto own = order_.begin() + static_cast<std::ptrdiff_t>(backward_);
  return {.next = backward_ == 0 ? kNone : order_[backward_ - 1],
          .ends_pass = backward_ == 0,
          .completes_unit = std::find(order_.begin(), own, unit) == own};
}

}  // namespace millrace
