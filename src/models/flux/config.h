// Sizes of a FLUX.1 transformer (Black Forest Labs, 2024; an MMDiT after Esser et al., arXiv 2403.03206).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "models/weights.h"

namespace millrace::flux {

struct FluxConfig {
  int64_t in_channels = 64;       // features of an image token: latent channels x patch x patch
  int64_t out_channels = 64;      // equal to in_channels in every published model
  int64_t vec_in_dim = 768;       // pooled CLIP embedding
  int64_t context_in_dim = 4096;  // T5 embedding
  int64_t hidden_size = 3072;
  double mlp_ratio = 4.0;
  int64_t num_heads = 24;
  int64_t depth = 19;  // double blocks
  int64_t depth_single_blocks = 38;
  std::vector<int64_t> axes_dim = {16, 56, 56};  // rope channels per position axis; their sum is head_dim
  double theta = 10000.0;
  bool guidance_embed = false;  // FLUX.1-dev: distilled guidance is an input
  // Added to the mean square in the QK norm. 1e-6 is Black Forest's; torchtitan 0.3 uses 1e-5, MLPerf's fork
  // machine epsilon.
  double qk_norm_eps = 1e-6;

  int64_t head_dim() const { return hidden_size / num_heads; }
  int64_t mlp_hidden_size() const { return static_cast<int64_t>(static_cast<double>(hidden_size) * mlp_ratio); }

  bool operator==(const FluxConfig&) const = default;
};

// FLUX splits a head's 128 rope channels as 16 + 56 + 56; other head sizes keep that proportion, all parts even.
std::vector<int64_t> default_axes_dim(int64_t head_dim);

// Throws ModelError unless the sizes fit together. place names the source in the message.
void check(const FluxConfig& config, const std::string& place);

// "flux-schnell", "flux-dev" or "flux-debug" (torchtitan's small model); throws ConfigError naming the nearest.
FluxConfig flavor(std::string_view name);

// From a config.json with diffusers' names (num_layers, attention_head_dim, ...) or ours above. Absent keys keep their
// defaults; an unknown key is a ModelError, except diffusers' metadata ("_class_name", ...).
FluxConfig config_from_json(const nlohmann::json& json, const std::string& place);
// diffusers' config.json for these sizes.
nlohmann::json to_diffusers_json(const FluxConfig& config);

// Sizes inferred from tensor shapes in any naming; head_dim comes from the QK norms. axes_dim cannot be inferred: it is
// FLUX's (16, 56, 56), scaled to head_dim.
FluxConfig config_from_shapes(const ShapeMap& shapes, Naming naming, const std::string& place);

}  // namespace millrace::flux
