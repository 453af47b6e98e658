// The order in which torchtune's sampler goes through a data set.
#pragma once

#include <cstdint>
#include <vector>

namespace millrace {

// torch.randperm(n) of a CPU generator seeded with seed: Fisher-Yates on a Mersenne Twister, position i swapped with
// i + (next 32 bits) mod (n - i). n is below 2^32 / 20, above which torch draws otherwise. Throws ConfigError beyond.
std::vector<int64_t> torch_randperm(int64_t n, uint64_t seed);

struct SamplerShare {
  int64_t replicas = 1;  // data-parallel ranks
  int64_t rank = 0;
};

// Samples of one rank in an epoch, as StatefulDistributedSampler gives them: the permutation of seed + epoch
// (torchtune's seed is 0, whatever the run's is), wrapped around to a multiple of the replicas, of which a rank takes
// every replicas-th.
std::vector<int64_t> torchtune_sample_order(int64_t n, int64_t epoch, bool shuffle, SamplerShare share = {},
                                            uint64_t seed = 0);

}  // namespace millrace
