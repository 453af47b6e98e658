#include "prepare/numpy_shuffle.h"

#include <numeric>
#include <random>
#include <utility>

#include "base/error.h"

namespace millrace {

// NumPy's MT19937 is seeded like std::mt19937. The shuffle goes down from the end; a number up to i is drawn by
// masking to i's bits until it fits (random_interval in numpy/random/src/distributions/distributions.c).
std::vector<int64_t> numpy_permutation(uint32_t seed, int64_t n) {
  MILLRACE_CHECK(n >= 0 && n <= int64_t{UINT32_MAX});
  std::mt19937 generator(seed);
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (uint32_t i = n > 0 ? static_cast<uint32_t>(n - 1) : 0; i > 0; --i) {
    uint32_t mask = i;
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    uint32_t j = 0;
    do {
      j = static_cast<uint32_t>(generator()) & mask;
    } while (j > i);
    std::swap(order[i], order[j]);
  }
  return order;
}

}  // namespace millrace
