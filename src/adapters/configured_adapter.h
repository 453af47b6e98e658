// An adapter of a layer as [lora] configures it; and the adapters of a run as a file has them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "adapters/adapter_file.h"
#include "adapters/lora_options.h"
#include "adapters/module_adapter.h"
#include "comm/group.h"
#include "nn/base_storage.h"
#include "nn/linear.h"
#include "nn/tensor_io.h"

namespace millrace {

// For that layer. Its parameters, without memory yet, are named by AdapterKind's roles. rank: 1 or more. scale: of
// LoraScales. inputs: the ranks that share the layer's inputs, each with its part of them; null: one rank. (LoHa and
// LoKr take the layer whole.)
std::shared_ptr<ModuleAdapter> make_configured_adapter(const LoraConfig& config, const Linear& layer, int64_t rank,
                                                       double scale, Group* inputs = nullptr);

// ours: "<layer>.<role>" and its values; adapters in the order of the layers' names. The scales are those that the
// configuration trains with.
std::vector<AdapterTensors> configured_adapters(const LoraConfig& config, const TensorMap& ours);

// One of the matrices that start at zero is still zero, so that the adapter adds nothing; of DoRA, whose magnitudes may
// have changed, nothing but lengths.
bool is_without_effect(const AdapterTensors& adapter);

// lora.base_dtype.
BaseStorage base_storage_of(const LoraConfig& config);

// The role of "<layer>.<role>".
std::string role_of(const std::string& ours);
std::string layer_of(const std::string& ours);

}  // namespace millrace
