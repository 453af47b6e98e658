// The sizes of FLUX.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/option.h"

namespace millrace {

// A size of 0 (an empty list, None) keeps the flavor's.
struct FluxModelConfig {
  std::string name = "flux";
  std::string flavor = "flux-schnell";
  int64_t patch_size = 0;
  int64_t in_channels = 0;
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t depth = 0;
  int64_t depth_single_blocks = 0;
  double mlp_ratio = 0;
  std::vector<int64_t> axes_dim;
  double theta = 0;
  int64_t vec_in_dim = 0;
  int64_t context_in_dim = 0;
  std::optional<bool> guidance_embed;
  double qk_norm_eps = 0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(name, {.name = "name",
                 .meaning = "family of the model to train",
                 .choices = {"flux"},
                 .torchtitan_default = "llama3"});
    visit(flavor, {.name = "flavor",
                   .meaning = "named sizes; each size below replaces one of them",
                   .choices = {"flux-schnell", "flux-dev", "flux-debug"},
                   .torchtitan_default = "debugmodel"});
    visit(patch_size, {.name = "patch_size",
                       .unit = "latent pixels",
                       .meaning = "side of the square that makes one image token; 0: 2",
                       .at_least = 0,
                       .at_most = 64});
    visit(in_channels, {.name = "in_channels",
                        .unit = "features",
                        .meaning = "features of an image token; 0: patch_size squared times the latent's channels",
                        .at_least = 0});
    visit(hidden_size, {.name = "hidden_size",
                        .unit = "features",
                        .meaning = "width of the transformer; 0: the flavor's",
                        .at_least = 0,
                        .at_most = 1 << 20});
    visit(num_heads, {.name = "num_heads",
                      .unit = "heads",
                      .meaning = "attention heads; 0: the flavor's",
                      .at_least = 0,
                      .at_most = 1 << 16});
    visit(depth, {.name = "depth",
                  .unit = "blocks",
                  .meaning = "double-stream blocks; 0: the flavor's",
                  .at_least = 0,
                  .at_most = 10000});
    visit(depth_single_blocks, {.name = "depth_single_blocks",
                                .unit = "blocks",
                                .meaning = "single-stream blocks; 0: the flavor's",
                                .at_least = 0,
                                .at_most = 10000});
    visit(mlp_ratio, {.name = "mlp_ratio",
                      .meaning = "ratio of the MLPs' width to hidden_size; 0: the flavor's",
                      .at_least = 0,
                      .at_most = 1024});
    visit(axes_dim, {.name = "axes_dim",
                     .unit = "features",
                     .meaning = "rotary features per position axis (text, row, column), summing to hidden_size / "
                                "num_heads; empty: the flavor's, scaled to that sum",
                     .at_least = 0});
    visit(theta, {.name = "theta", .meaning = "base of the rotary frequencies; 0: the flavor's", .at_least = 0});
    visit(vec_in_dim, {.name = "vec_in_dim",
                       .unit = "features",
                       .meaning = "width of the pooled CLIP encoding; 0: the flavor's",
                       .at_least = 0,
                       .at_most = 1 << 20});
    visit(context_in_dim, {.name = "context_in_dim",
                           .unit = "features",
                           .meaning = "width of the T5 encodings; 0: the flavor's",
                           .at_least = 0,
                           .at_most = 1 << 20,
                           .aliases = {"encoder.context_in_dim"},
                           .torchtitan_default = "1024 in the MLPerf branch"});
    visit(guidance_embed,
          {.name = "guidance_embed", .meaning = "feed the distilled guidance of FLUX.1-dev; None: the flavor's"});
    visit(qk_norm_eps, {.name = "qk_norm_eps",
                        .meaning = "epsilon of the query and key norms; 0: the flavor's",
                        .at_least = 0,
                        .at_most = 1});
  }
  bool operator==(const FluxModelConfig&) const = default;
};

}  // namespace millrace
