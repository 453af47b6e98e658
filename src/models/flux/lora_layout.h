// What a LoRA of FLUX consists of in kohya's naming: its modules, their parameters, and the tensors of its file. No
// torch.
//
// sd-scripts visits CLIP's layers, T5's, then the transformer's blocks, then its embedders: the order in which modules
// are constructed, hence that of an optimizer's parameters. A file has its tensors in the safetensors writer's order.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/dtype.h"
#include "models/flux/lora_network.h"
#include "models/lora_text_names.h"

namespace millrace::clip {
struct ClipConfig;
}
namespace millrace::t5 {
struct T5Config;
}

namespace millrace::flux {

const char* kohya_prefix(LoraPart part);  // "lora_te1", "lora_te3", "lora_unet"
// "double_blocks.0.img_attn.qkv" -> "lora_unet_double_blocks_0_img_attn_qkv"
std::string kohya_name(LoraPart part, const std::string& module);

// A linear layer of a model, by the name it has there.
struct LinearLayer {
  std::string module;
  int64_t in_features = 0, out_features = 0;
};
// All of the transformer's, in the order of its modules: embedders, blocks, final layer.
std::vector<LinearLayer> linear_layers(const FluxConfig& config);
// Those that a LoRA may adapt.
std::vector<LinearLayer> linear_layers(const clip::ClipConfig& config);
std::vector<LinearLayer> linear_layers(const t5::T5Config& config);
bool is_in_block(const std::string& module);  // of the transformer; others are embedders and the final layer
// The outputs of q, k, v (and, in linear1, the MLP) in a fused layer; of other layers: empty.
std::vector<int64_t> fused_rows(const FluxConfig& config, const std::string& module);
inline constexpr std::array<const char*, 4> kFusedParts = {"q", "k", "v", "mlp"};  // in the order of their rows

struct LoraModule {
  std::string name;  // in kohya's naming
  LoraPart part = LoraPart::kTransformer;
  LinearLayer layer;
  int64_t rank = 0;
  double alpha = 0;
  bool alpha_is_rank = false;      // network_alpha was 0: an integer in the file, unless that is cast
  std::vector<int64_t> row_sizes;  // split_qkv: the outputs of each of its pairs; otherwise empty

  double scale() const { return alpha / static_cast<double>(rank); }
  // The trained tensors' names: down projections, then up projections.
  std::vector<std::string> parameter_names() const;
};

// The models that are trained; null: not.
struct LoraTargets {
  const FluxConfig* transformer = nullptr;
  const clip::ClipConfig* clip = nullptr;
  const t5::T5Config* t5 = nullptr;  // with train_t5xxl alone
};
std::vector<LoraModule> lora_modules(const LoraTargets& targets, const LoraNetwork& network);

// In the order of the file. save_dtype: of all tensors, alpha among them; none: fp32. Pairs of a split layer are one in
// the file, of their summed rank.
struct FileTensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // empty: a scalar
};
std::vector<FileTensorSpec> lora_file_tensors(const std::vector<LoraModule>& modules, std::optional<DType> save_dtype);

}  // namespace millrace::flux
