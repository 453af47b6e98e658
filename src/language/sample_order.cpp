#include "language/sample_order.h"

#include <numeric>
#include <random>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace millrace {

std::vector<int64_t> torch_randperm(int64_t n, uint64_t seed) {
  constexpr int64_t kLimit = (int64_t{1} << 32) / 20;
  if (n < 0 || n >= kLimit) throw ConfigError(str("[samples] expected fewer than ", kLimit, ", got ", n));
  std::mt19937 generator(static_cast<uint32_t>(seed));
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (size_t i = 0; i + 1 < order.size(); ++i) {
    std::swap(order[i], order[i + generator() % (order.size() - i)]);
  }
  return order;
}

std::vector<int64_t> torchtune_sample_order(int64_t n, int64_t epoch, bool shuffle, SamplerShare share, uint64_t seed) {
  MILLRACE_CHECK(share.replicas > 0 && share.rank >= 0 && share.rank < share.replicas);
  std::vector<int64_t> all;
  if (shuffle) {
    all = torch_randperm(n, seed + static_cast<uint64_t>(epoch));
  } else {
    all.resize(static_cast<size_t>(n));
    std::iota(all.begin(), all.end(), int64_t{0});
  }
  std::vector<int64_t> mine;
  if (n == 0) return mine;
  const int64_t per_rank = (n + share.replicas - 1) / share.replicas;
  for (int64_t i = 0; i < per_rank; ++i) {
    mine.push_back(all[static_cast<size_t>((share.rank + i * share.replicas) % n)]);
  }
  return mine;
}

}  // namespace millrace
