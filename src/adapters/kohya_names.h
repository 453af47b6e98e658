// LoRA as kohya-ss/sd-scripts names it, which ComfyUI, Forge and diffusers read.
#pragma once

#include <map>
#include <string>

#include "adapters/lora_options.h"
#include "nn/tensor_io.h"

namespace millrace {

// The name in the file for one of ours: "double_blocks.0.img_attn.qkv.down" is
// "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight".
std::string kohya_name(const std::string& ours);

// Beside the two matrices of each layer, the file has "<layer>.alpha", a scalar: readers scale by alpha / rank, so that
// it is alpha * sqrt(rank) for rank-stabilised adapters.
TensorMap kohya_alphas(const TensorMap& ours, const LoraConfig& config);

// What sd-scripts says about the network that a file holds.
std::map<std::string, std::string> kohya_network_metadata(const LoraConfig& config, const std::string& base);

}  // namespace millrace
