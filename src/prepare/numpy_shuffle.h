// numpy.random.RandomState(seed).permutation(n), used by pandas to shuffle rows. NumPy guarantees its result.
#pragma once

#include <cstdint>
#include <vector>

namespace millrace {

// 0 to n-1, shuffled; n below 2^32.
std::vector<int64_t> numpy_permutation(uint32_t seed, int64_t n);

}  // namespace millrace
