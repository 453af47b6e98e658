#include "models/flux/lora_layout.h"

#include <algorithm>
#include <numeric>

#include "adapters/tensor_names.h"
#include "base/error.h"
#include "base/log.h"
#include "base/regular_expression.h"
#include "base/text.h"
#include "formats/safetensors_layout.h"
#include "models/clip/config.h"
#include "models/flux/config.h"
#include "models/t5/config.h"

namespace millrace::flux {
namespace {

// What a name must hold for each entry of LoraNetwork::type_dims; the first that fits decides.
constexpr std::array<std::array<const char*, 2>, LoraNetwork::kNumTypes> kTypeWords = {{{"img_attn", ""},
                                                                                        {"txt_attn", ""},
                                                                                        {"img_mlp", ""},
                                                                                        {"txt_mlp", ""},
                                                                                        {"img_mod", ""},
                                                                                        {"txt_mod", ""},
                                                                                        {"single_blocks", "linear"},
                                                                                        {"modulation", ""}}};
constexpr std::array<const char*, 5> kEmbedders = {"img_in", "time_in", "vector_in", "guidance_in", "txt_in"};

bool holds(const std::string& name, const std::string& word) {
  return name.find(word) != std::string::npos;
}

// Blocks' layers come in block order; "double_blocks.12.img_mlp.0" -> 12.
int64_t block_index(const std::string& module) {
  return std::stoll(module.substr(module.find('.') + 1));
}

// The rank of a module, 0 for none. default_rank: where no rule names another.
int64_t rank_of(const LoraNetwork& network, LoraPart part, const std::string& name, const std::string& module,
                int64_t default_rank) {
  for (const auto& [pattern, rank] : network.reg_dims) {
    if (RegularExpression(pattern).found_in(name)) return rank;
  }
  if (part != LoraPart::kTransformer) return default_rank;
  int64_t rank = default_rank;
  for (size_t i = 0; i < kTypeWords.size(); ++i) {
    if (network.type_dims[i] && holds(name, kTypeWords[i][0]) && holds(name, kTypeWords[i][1])) {
      rank = *network.type_dims[i];
      break;
    }
  }
  const auto is_left_out = [&](const char* blocks, const std::vector<bool>& selected) {
    return starts_with(module, blocks) && !selected.empty() && !selected[block_index(module)];
  };
  if (is_left_out("double_blocks.", network.double_blocks)) return 0;
  if (is_left_out("single_blocks.", network.single_blocks)) return 0;
  return rank;
}

void add_module(std::vector<LoraModule>& modules, const LoraNetwork& network, LoraPart part, const LinearLayer& layer,
                int64_t default_rank, std::vector<int64_t> row_sizes = {}) {
  LoraModule module;
  module.name = kohya_name(part, layer.module);
  module.part = part;
  module.layer = layer;
  module.rank = rank_of(network, part, module.name, layer.module, default_rank);
  if (module.rank == 0) return;
  module.alpha_is_rank = network.alpha == 0;
  module.alpha = module.alpha_is_rank ? static_cast<double>(module.rank) : network.alpha;
  module.row_sizes = std::move(row_sizes);
  modules.push_back(std::move(module));
}

}  // namespace

const char* kohya_prefix(LoraPart part) {
  return part == LoraPart::kClip ? "lora_te1" : part == LoraPart::kT5 ? "lora_te3" : "lora_unet";
}

std::string kohya_name(LoraPart part, const std::string& module) {
  return kohya_module_name(kohya_prefix(part), module);
}

std::vector<LinearLayer> linear_layers(const FluxConfig& config) {
  const int64_t h = config.hidden_size, m = config.mlp_hidden_size(), time = 256;
  std::vector<LinearLayer> layers = {{"img_in", config.in_channels, h},
                                     {"time_in.in_layer", time, h},
                                     {"time_in.out_layer", h, h},
                                     {"vector_in.in_layer", config.vec_in_dim, h},
                                     {"vector_in.out_layer", h, h}};
  if (config.guidance_embed) {
    layers.push_back({"guidance_in.in_layer", time, h});
    layers.push_back({"guidance_in.out_layer", h, h});
  }
  layers.push_back({"txt_in", config.context_in_dim, h});
  for (int64_t i = 0; i < config.depth; ++i) {
    for (const char* stream : {"img", "txt"}) {
      const std::string prefix = str("double_blocks.", i, ".", stream);
      layers.push_back({prefix + "_mod.lin", h, 6 * h});
      layers.push_back({prefix + "_attn.qkv", h, 3 * h});
      layers.push_back({prefix + "_attn.proj", h, h});
      layers.push_back({prefix + "_mlp.0", h, m});
      layers.push_back({prefix + "_mlp.2", m, h});
    }
  }
  for (int64_t i = 0; i < config.depth_single_blocks; ++i) {
    const std::string prefix = str("single_blocks.", i, ".");
    layers.push_back({prefix + "linear1", h, 3 * h + m});
    layers.push_back({prefix + "linear2", h + m, h});
    layers.push_back({prefix + "modulation.lin", h, 3 * h});
  }
  layers.push_back({"final_layer.linear", h, config.out_channels});
  layers.push_back({"final_layer.adaLN_modulation.1", h, 2 * h});
  return layers;
}

std::vector<LinearLayer> linear_layers(const clip::ClipConfig& config) {
  std::vector<LinearLayer> layers;
  const int64_t h = config.hidden_size, m = config.intermediate_size;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string prefix = str("text_model.encoder.layers.", i, ".");
    for (const char* name : {"k_proj", "v_proj", "q_proj", "out_proj"}) {
      layers.push_back({prefix + "self_attn." + name, h, h});
    }
    layers.push_back({prefix + "mlp.fc1", h, m});
    layers.push_back({prefix + "mlp.fc2", m, h});
  }
  return layers;
}

std::vector<LinearLayer> linear_layers(const t5::T5Config& config) {
  std::vector<LinearLayer> layers;
  const int64_t d = config.d_model, inner = config.num_heads * config.d_kv;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string attention = str("encoder.block.", i, ".layer.0.SelfAttention.");
    const std::string mlp = str("encoder.block.", i, ".layer.1.DenseReluDense.");
    for (const char* name : {"q", "k", "v"}) layers.push_back({attention + name, d, inner});
    layers.push_back({attention + "o", inner, d});
    for (const char* name : {"wi_0", "wi_1"}) layers.push_back({mlp + name, d, config.d_ff});
    layers.push_back({mlp + "wo", config.d_ff, d});
  }
  return layers;
}

bool is_in_block(const std::string& module) {
  return starts_with(module, "double_blocks.") || starts_with(module, "single_blocks.");
}

std::vector<int64_t> fused_rows(const FluxConfig& config, const std::string& module) {
  const int64_t h = config.hidden_size;
  if (ends_with(module, "_attn.qkv")) return {h, h, h};
  if (ends_with(module, ".linear1")) return {h, h, h, config.mlp_hidden_size()};
  return {};
}

std::vector<std::string> LoraModule::parameter_names() const {
  std::vector<std::string> names;
  for (const char* role : {".lora_down.", ".lora_up."}) {
    if (row_sizes.empty()) names.push_back(name + role + "weight");
    for (size_t i = 0; i < row_sizes.size(); ++i) names.push_back(str(name, role, i, ".weight"));
  }
  return names;
}

std::vector<LoraModule> lora_modules(const LoraTargets& targets, const LoraNetwork& network) {
  std::vector<LoraModule> modules;
  if (targets.clip) {
    for (const LinearLayer& layer : linear_layers(*targets.clip)) {
      add_module(modules, network, LoraPart::kClip, layer, network.dim);
    }
  }
  if (targets.t5 && network.train_t5xxl) {
    for (const LinearLayer& layer : linear_layers(*targets.t5)) {
      add_module(modules, network, LoraPart::kT5, layer, network.dim);
    }
  }
  if (!targets.transformer) return modules;
  const std::vector<LinearLayer> layers = linear_layers(*targets.transformer);
  for (const LinearLayer& layer : layers) {
    const bool in_double = starts_with(layer.module, "double_blocks."),
               in_single = starts_with(layer.module, "single_blocks.");
    if ((in_double && network.trains_double_blocks) || (in_single && network.trains_single_blocks)) {
      add_module(modules, network, LoraPart::kTransformer, layer, network.dim,
                 network.split_qkv ? fused_rows(*targets.transformer, layer.module) : std::vector<int64_t>());
    }
  }
  for (size_t i = 0; network.in_dims && i < kEmbedders.size(); ++i) {
    for (const LinearLayer& layer : layers) {
      if (layer.module == kEmbedders[i] || starts_with(layer.module, std::string(kEmbedders[i]) + ".")) {
        add_module(modules, network, LoraPart::kTransformer, layer, (*network.in_dims)[i]);
      }
    }
  }
  return modules;
}

std::vector<FileTensorSpec> lora_file_tensors(const std::vector<LoraModule>& modules, std::optional<DType> save_dtype) {
  std::vector<FileTensorSpec> tensors;
  const DType dtype = save_dtype.value_or(DType::kF32);
  for (const LoraModule& module : modules) {
    const int64_t rank = module.rank * std::max<int64_t>(1, std::ssize(module.row_sizes));
    tensors.push_back(
        {module.name + ".alpha", module.alpha_is_rank && !save_dtype ? DType::kI64 : dtype, std::vector<int64_t>()});
    tensors.push_back({module.name + ".lora_down.weight", dtype, {rank, module.layer.in_features}});
    tensors.push_back({module.name + ".lora_up.weight", dtype, {module.layer.out_features, rank}});
  }
  std::sort(tensors.begin(), tensors.end(), [](const FileTensorSpec& a, const FileTensorSpec& b) {
    return comes_before(a.dtype, a.name, b.dtype, b.name);
  });
  return tensors;
}

}  // namespace millrace::flux
