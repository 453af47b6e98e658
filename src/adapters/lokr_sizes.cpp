#include "adapters/lokr_sizes.h"

#include <algorithm>
#include <utility>

namespace millrace {
namespace {

// The smaller divisor of a dimension, and the larger one.
std::pair<int64_t, int64_t> divide(int64_t dimension, std::optional<int64_t> factor) {
  const int64_t limit = factor.value_or(dimension);
  if (factor && dimension % *factor == 0) {
    const int64_t other = dimension / *factor;
    return {std::min(*factor, other), std::max(*factor, other)};
  }
  int64_t smaller = 1;
  for (int64_t divisor = 2; divisor <= limit && divisor * divisor <= dimension; ++divisor) {
    if (dimension % divisor == 0) smaller = divisor;
  }
  return {smaller, dimension / smaller};
}

}  // namespace

LokrSizes lokr_sizes(int64_t in_features, int64_t out_features, int64_t rank, std::optional<int64_t> factor,
                     bool decompose_both) {
  const auto [in_1, in_2] = divide(in_features, factor);
  const auto [out_1, out_2] = divide(out_features, factor);
  const auto rank_of = [&](int64_t rows, int64_t columns) { return 2 * rank < std::max(rows, columns) ? rank : 0; };
  return {{out_1, in_1, decompose_both ? rank_of(out_1, in_1) : 0}, {out_2, in_2, rank_of(out_2, in_2)}};
}

}  // namespace millrace
