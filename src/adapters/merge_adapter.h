// What an adapter makes of its layer's weight, for files that hold the sum.
#pragma once

#include <torch/types.h>

#include "adapters/adapter_file.h"

namespace millrace {

// The change of the rows that the adapter is of: scale times its product, fp32. For DoRA, before its magnitude.
torch::Tensor weight_change(const AdapterTensors& adapter);

// weight_NK [N, K], fp32, becomes the adapted layer's. strength: of the change; with a magnitude, of the difference
// that the whole adapter makes.
void merge_adapter(torch::Tensor& weight_NK, const AdapterTensors& adapter, double strength = 1);

}  // namespace millrace
