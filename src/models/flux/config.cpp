#include "models/flux/config.h"

#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace::flux {
namespace {

const std::vector<int64_t>& shape_of(const ShapeMap& shapes, const std::string& name, size_t rank,
                                     const std::string& place) {
  const auto found = shapes.find(name);
  if (found == shapes.end() || found->second.size() != rank) {
    throw ModelError("[" + place + "] expected tensor '" + name + "' of " + std::to_string(rank) +
                     " dimensions to tell the model's sizes, got none (try --config)");
  }
  return found->second;
}

int64_t count_blocks(const ShapeMap& shapes, const std::string& prefix) {
  int64_t count = 0;
  for (const auto& [name, shape] : shapes) {
    if (!starts_with(name, prefix)) continue;
    const std::string digits = name.substr(prefix.size(), name.find('.', prefix.size()) - prefix.size());
    if (digits.empty() || digits.size() > 6 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    count = std::max<int64_t>(count, std::stoll(digits) + 1);
  }
  return count;
}

template <typename T>
void read(const nlohmann::json& value, const std::string& key, const std::string& place, T& into) {
  try {
    into = value.get<T>();
  } catch (const nlohmann::json::exception&) {
    throw ModelError("[" + place + ": " + key + "] expected another type, got " + value.dump());
  }
}

}  // namespace

std::vector<int64_t> default_axes_dim(int64_t head_dim) {
  const int64_t spatial = head_dim * 7 / 16 / 2 * 2;
  return {head_dim - 2 * spatial, spatial, spatial};
}

void check(const FluxConfig& config, const std::string& place) {
  const auto expect = [&](bool holds, const std::string& expected, const std::string& got) {
    if (!holds) throw ModelError("[" + place + "] expected " + expected + ", got " + got);
  };
  for (const auto& [name, value] : {std::pair<const char*, int64_t>{"in_channels", config.in_channels},
                                    {"out_channels", config.out_channels},
                                    {"vec_in_dim", config.vec_in_dim},
                                    {"context_in_dim", config.context_in_dim},
                                    {"hidden_size", config.hidden_size},
                                    {"num_heads", config.num_heads}}) {
    expect(value > 0 && value <= (1 << 24), std::string(name) + " above 0", std::to_string(value));
  }
  expect(config.depth >= 0 && config.depth_single_blocks >= 0 && config.depth + config.depth_single_blocks <= 10000,
         "block counts of 0 or more", str(config.depth, " and ", config.depth_single_blocks));
  expect(config.mlp_ratio > 0 && config.mlp_hidden_size() > 0, "mlp_ratio above 0", std::to_string(config.mlp_ratio));
  expect(config.hidden_size % config.num_heads == 0, "hidden_size divisible by num_heads",
         str(config.hidden_size, " and ", config.num_heads));
  const int64_t sum = std::accumulate(config.axes_dim.begin(), config.axes_dim.end(), int64_t{0});
  expect(!config.axes_dim.empty() && sum == config.head_dim(), str("axes_dim to sum to head_dim ", config.head_dim()),
         std::to_string(sum));
  for (const int64_t dim : config.axes_dim) expect(dim >= 0 && dim % 2 == 0, "even axes_dim", std::to_string(dim));
  expect(config.qk_norm_eps > 0, "qk_norm_eps above 0", std::to_string(config.qk_norm_eps));
}

FluxConfig flavor(std::string_view name) {
  if (name == "flux-schnell") return {};
  if (name == "flux-dev") {
    FluxConfig dev;
    dev.guidance_embed = true;
    return dev;
  }
  if (name == "flux-debug") {
    FluxConfig debug;
    debug.hidden_size = 1536;
    debug.num_heads = 12;
    debug.depth = 2;
    debug.depth_single_blocks = 2;
    return debug;
  }
  const std::string near = nearest(name, {"flux-schnell", "flux-dev", "flux-debug"});
  throw ConfigError("[model.flavor] expected flux-schnell, flux-dev or flux-debug, got '" + std::string(name) + "'" +
                    (near.empty() ? "" : " (try " + near + ")"));
}

FluxConfig config_from_json(const nlohmann::json& json, const std::string& place) {
  if (!json.is_object())
    throw ModelError("[" + place + "] expected a JSON object with a model's sizes, got " + json.type_name());
  FluxConfig config;
  int64_t head_dim = 0, patch_size = 1;
  bool axes_given = false, out_given = false, heads_given = false, hidden_given = false;
  for (const auto& [key, value] : json.items()) {
    if (starts_with(key, "_") || key == "name" || key == "flavor" || value.is_null()) continue;
    if (key == "in_channels")
      read(value, key, place, config.in_channels);
    else if (key == "out_channels")
      read(value, key, place, config.out_channels), out_given = true;
    else if (key == "vec_in_dim" || key == "pooled_projection_dim")
      read(value, key, place, config.vec_in_dim);
    else if (key == "context_in_dim" || key == "joint_attention_dim")
      read(value, key, place, config.context_in_dim);
    else if (key == "hidden_size")
      read(value, key, place, config.hidden_size), hidden_given = true;
    else if (key == "mlp_ratio")
      read(value, key, place, config.mlp_ratio);
    else if (key == "num_heads" || key == "num_attention_heads")
      read(value, key, place, config.num_heads), heads_given = true;
    else if (key == "attention_head_dim")
      read(value, key, place, head_dim);
    else if (key == "depth" || key == "num_layers")
      read(value, key, place, config.depth);
    else if (key == "depth_single_blocks" || key == "num_single_layers")
      read(value, key, place, config.depth_single_blocks);
    else if (key == "axes_dim" || key == "axes_dims_rope")
      read(value, key, place, config.axes_dim), axes_given = true;
    else if (key == "theta")
      read(value, key, place, config.theta);
    else if (key == "guidance_embed" || key == "guidance_embeds")
      read(value, key, place, config.guidance_embed);
    else if (key == "qk_norm_eps")
      read(value, key, place, config.qk_norm_eps);
    else if (key == "patch_size")
      read(value, key, place, patch_size);
    else if (key == "qkv_bias") {
      bool qkv_bias = true;
      read(value, key, place, qkv_bias);
      if (!qkv_bias) throw ModelError("[" + place + ": qkv_bias] expected true, as in every FLUX model, got false");
    } else {
      throw ModelError("[" + place + "] expected the sizes of a FLUX model, got unknown key '" + key + "'");
    }
  }
  if (head_dim > 0 && (heads_given || !hidden_given)) {
    const int64_t hidden_size = head_dim * config.num_heads;
    if (hidden_given && config.hidden_size != hidden_size) {
      throw ModelError(str("[", place, "] expected hidden_size ", hidden_size, " (attention_head_dim x heads), got ",
                           config.hidden_size));
    }
    config.hidden_size = hidden_size;
  }
  if (!out_given) config.out_channels = config.in_channels;
  if (!axes_given && config.num_heads > 0 && config.head_dim() != 128)
    config.axes_dim = default_axes_dim(config.head_dim());
  check(config, place);
  return config;
}

nlohmann::json to_diffusers_json(const FluxConfig& config) {
  return {{"_class_name", "FluxTransformer2DModel"},
          {"attention_head_dim", config.head_dim()},
          {"axes_dims_rope", config.axes_dim},
          {"guidance_embeds", config.guidance_embed},
          {"in_channels", config.in_channels},
          {"joint_attention_dim", config.context_in_dim},
          {"num_attention_heads", config.num_heads},
          {"num_layers", config.depth},
          {"num_single_layers", config.depth_single_blocks},
          {"out_channels", config.out_channels},
          {"patch_size", 1},
          {"pooled_projection_dim", config.vec_in_dim}};
}

FluxConfig config_from_shapes(const ShapeMap& shapes, Naming naming, const std::string& place) {
  const bool diffusers = naming == Naming::kDiffusers;
  FluxConfig config;
  const auto& image_in = shape_of(shapes, diffusers ? "x_embedder.weight" : "img_in.weight", 2, place);
  config.hidden_size = image_in[0];
  config.in_channels = image_in[1];
  config.context_in_dim = shape_of(shapes, diffusers ? "context_embedder.weight" : "txt_in.weight", 2, place)[1];
  config.vec_in_dim = shape_of(
      shapes, diffusers ? "time_text_embed.text_embedder.linear_1.weight" : "vector_in.in_layer.weight", 2, place)[1];
  config.out_channels = shape_of(shapes, diffusers ? "proj_out.weight" : "final_layer.linear.weight", 2, place)[0];
  config.depth = count_blocks(shapes, diffusers ? "transformer_blocks." : "double_blocks.");
  config.depth_single_blocks = count_blocks(shapes, diffusers ? "single_transformer_blocks." : "single_blocks.");
  config.guidance_embed =
      shapes.count(diffusers ? "time_text_embed.guidance_embedder.linear_1.weight" : "guidance_in.in_layer.weight") > 0;
  const std::string scale = naming == Naming::kTorchtitan ? "weight" : "scale";
  std::string norm, mlp;
  if (config.depth > 0) {
    norm = diffusers ? "transformer_blocks.0.attn.norm_q.weight" : "double_blocks.0.img_attn.norm.query_norm." + scale;
    mlp = diffusers ? "transformer_blocks.0.ff.net.0.proj.weight" : "double_blocks.0.img_mlp.0.weight";
  } else {
    norm = diffusers ? "single_transformer_blocks.0.attn.norm_q.weight" : "single_blocks.0.norm.query_norm." + scale;
    mlp = diffusers ? "single_transformer_blocks.0.proj_mlp.weight" : "single_blocks.0.linear1.weight";
  }
  const int64_t head_dim = shape_of(shapes, norm, 1, place)[0];
  if (head_dim <= 0 || config.hidden_size % head_dim != 0) {
    throw ModelError(str("[", place, "] expected head size ", head_dim, " to divide hidden size ", config.hidden_size));
  }
  config.num_heads = config.hidden_size / head_dim;
  int64_t mlp_hidden_size = shape_of(shapes, mlp, 2, place)[0];
  if (config.depth == 0 && !diffusers) mlp_hidden_size -= 3 * config.hidden_size;
  config.mlp_ratio = static_cast<double>(mlp_hidden_size) / static_cast<double>(config.hidden_size);
  config.axes_dim = default_axes_dim(head_dim);
  check(config, place);
  return config;
}

}  // namespace millrace::flux
