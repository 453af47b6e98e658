// What is trained, and the frozen networks before it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/option.h"

namespace millrace {

// A size of 0 (an empty list, None) leaves the flavor's.
struct ModelConfig {
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
                      .meaning = "width of the MLPs over hidden_size; 0: the flavor's",
                      .at_least = 0,
                      .at_most = 1024});
    visit(axes_dim, {.name = "axes_dim",
                     .unit = "features",
                     .meaning = "rotary features per position axis (text, row, column), together "
                                "hidden_size / num_heads; empty: the flavor's, scaled to that sum",
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
  bool operator==(const ModelConfig&) const = default;
};

// What t5_encoder, clip_encoder and autoencoder_path may say instead of a path: random weights.
inline constexpr const char* kRandomNetwork = "random";

struct EncoderConfig {
  std::string t5_encoder;
  std::string t5_tokenizer;
  std::string clip_encoder;
  std::string clip_tokenizer;
  std::string autoencoder_path;
  std::optional<double> autoencoder_shift;
  std::optional<double> autoencoder_scale;
  int64_t max_t5_encoding_len = 256;
  std::string empty_encodings_path;
  std::string cache_encodings = "none";
  std::string shard = "auto";

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(t5_encoder, {.name = "t5_encoder",
                       .meaning = "folder of the T5 v1.1 encoder (config.json, *.safetensors, spiece.model); "
                                  "\"random\": random weights, for tests; empty: not loaded",
                       .none_is_empty = true,
                       .torchtitan_default = "google/t5-v1_1-small, downloaded"});
    visit(t5_tokenizer, {.name = "t5_tokenizer",
                         .meaning = "SentencePiece model of T5; empty: spiece.model in t5_encoder",
                         .none_is_empty = true});
    visit(clip_encoder, {.name = "clip_encoder",
                         .meaning = "folder of the CLIP-L text model (config.json, *.safetensors, vocab.json, "
                                    "merges.txt); \"random\": random weights, for tests; empty: not loaded",
                         .none_is_empty = true,
                         .torchtitan_default = "openai/clip-vit-large-patch14, downloaded"});
    visit(clip_tokenizer, {.name = "clip_tokenizer",
                           .meaning = "vocabulary of CLIP (a folder with merges.txt, or bpe_simple_vocab_16e6.txt.gz); "
                                      "empty: in clip_encoder",
                           .none_is_empty = true});
    visit(autoencoder_path, {.name = "autoencoder_path",
                             .meaning = "safetensors file of the autoencoder; \"random\": random weights, for tests; "
                                        "\"none\": train on pixels; empty: not loaded (preprocessed data)",
                             .none_is_empty = true,
                             .torchtitan_default = "a path inside its assets"});
    visit(autoencoder_shift,
          {.name = "autoencoder_shift", .meaning = "subtracted from the latent before scaling; None: FLUX's 0.1159"});
    visit(autoencoder_scale,
          {.name = "autoencoder_scale", .meaning = "multiplies the shifted latent; None: FLUX's 0.3611", .above = 0});
    visit(max_t5_encoding_len, {.name = "max_t5_encoding_len",
                                .unit = "tokens",
                                .meaning = "T5 tokens per prompt: longer ones are cut, shorter ones padded",
                                .at_least = 1,
                                .at_most = 65536});
    visit(empty_encodings_path, {.name = "empty_encodings_path",
                                 .meaning = "folder with t5_empty.npy and clip_empty.npy, the encodings of the empty "
                                            "prompt; empty: computed by the encoders",
                                 .none_is_empty = true});
    visit(cache_encodings, {.name = "cache_encodings",
                            .meaning = "keep text encodings of captions seen before",
                            .choices = {"none", "memory", "disk"}});
    visit(shard, {.name = "shard",
                  .meaning = "split the weights of T5 and CLIP over the ranks of the shard axis; auto: T5 alone, on "
                             "GPUs and where it takes more than 4 GiB",
                  .choices = {"auto", "true", "false"}});
  }
  bool operator==(const EncoderConfig&) const = default;
};

}  // namespace millrace
