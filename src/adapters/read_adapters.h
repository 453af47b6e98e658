// The adapters in a safetensors file of any convention (tensor_names.h).
#pragma once

#include <vector>

#include "adapters/adapter_file.h"
#include "formats/weight_store.h"

namespace millrace {

// In the order of their modules' names, which are as in the file, with its tensors in memory of their own. Throws
// ModelError for tensors of other names, for adapters that lack a tensor, and for shapes that do not fit together.
//
// The scale is alpha / rank where the file has an alpha; else what the adapter_config.json beside the weights, or
// diffusers' metadata, says; else 1.
std::vector<AdapterTensors> read_adapters(const WeightStore& file);

// Some tensor of the file has the name of an adapter's.
bool has_adapters(const WeightStore& file);

// The values with rows in the model's order.
torch::Tensor in_model_order(const FileTensor& tensor);

// Letters: adapter_file.h. What the two ends of its tensors say of the layer: N and K.
struct AdapterSizes {
  int64_t out_features = 0, in_features = 0, rank = 0;
};
AdapterSizes sizes_of(const AdapterTensors& adapter);

}  // namespace millrace
