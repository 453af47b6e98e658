// The values that adapters start from.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "adapters/adapter_kind.h"

namespace millrace {

// Of one matrix, by its name, which ends in ".<role>" (adapter_kind.h), fp32, from Philox keyed by the name, so that
// all devices and numbers of ranks start alike. K: its columns.
//   LoRA, DoRA  down U(-1/sqrt(K), 1/sqrt(K)), which is Kaiming-uniform with a = sqrt(5), as sd-scripts and PEFT have
//               it; up 0
//   LoHa        w1_a N(0, 0.1^2), w1_b and w2_b N(0, 1), w2_a 0, as LyCORIS
//   LoKr        w1, w1_a, w1_b, w2_a as down; w2 and w2_b 0, as LyCORIS
// so that the adapted model starts as the frozen one. A magnitude starts with the norms of its layer's rows
// (dora.h) and has none here.
torch::Tensor initial_adapter_matrix(AdapterKind kind, const std::string& name, const std::vector<int64_t>& shape,
                                     uint64_t seed, torch::Device device);

}  // namespace millrace
