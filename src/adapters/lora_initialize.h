// The values that LoRA starts from.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

// Of one matrix, by its name, which ends in ".down" or ".up", fp32. Down: Kaiming-uniform with a = sqrt(5), which is
// U(-1/sqrt(K), 1/sqrt(K)) for K inputs, as sd-scripts and PEFT have it, from Philox keyed by the name, so that all
// devices and numbers of ranks start alike. Up: zero, so that the adapted model starts as the frozen one.
torch::Tensor initial_lora_matrix(const std::string& name, const std::vector<int64_t>& shape, uint64_t seed,
                                  torch::Device device);

}  // namespace millrace
