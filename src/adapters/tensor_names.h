// What the tensors of adapters are called, whatever convention a file follows: "<module>.<ending>", where the ending
// says the tensor's role. No torch.
#pragma once

#include <optional>
#include <string>

#include "adapters/adapter_kind.h"

namespace millrace {

enum class AdapterFamily { kLora, kLoha, kLokr };

struct AdapterTensorName {
  std::string module;  // in the file's words: "lora_unet_single_blocks_0_linear1", "transformer.proj_out"
  std::string role;    // as at AdapterKind (adapter_file.h), or "alpha"
  // Which of the pairs that share a fused layer: "lora_down.1.weight" of sd-scripts' split_qkv; -1: the only one.
  int part = -1;
  // The family that the ending belongs to; none for alpha and magnitude, which all share.
  std::optional<AdapterFamily> family;
};

// kohya's (lora_down, lora_up, alpha), PEFT's (lora_A, lora_B, lora_magnitude_vector), older diffusers'
// (lora_linear_layer.down) and LyCORIS' (hada_w1_a, lokr_w1, dora_scale) endings; nothing for any other name.
std::optional<AdapterTensorName> parse_adapter_tensor_name(const std::string& name);

// The ending of a role in kohya's files, and of other kinds in LyCORIS': ".lora_down.weight", ".hada_w1_a".
std::string kohya_ending(AdapterKind kind, const std::string& role);

// A module's name in kohya's files: the prefix of its model ("lora_unet"), and underscores for dots.
std::string kohya_module_name(const std::string& prefix, const std::string& module);

}  // namespace millrace
