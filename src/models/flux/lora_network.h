// What is trained in a LoRA of FLUX, as the options of sd-scripts' networks.lora_flux say it. No torch.
//
// Their values are texts: booleans are on for exactly "True". An argument that has no effect there has none here, and
// a note says so.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace millrace::flux {

struct FluxConfig;

struct LoraNetwork {
  int64_t dim = 4;   // rank, where nothing else gives one
  double alpha = 1;  // 0: each module's own rank

  bool trains_double_blocks = true, trains_single_blocks = true;  // train_blocks
  std::vector<bool> double_blocks, single_blocks;                 // train_*_block_indices; empty: all
  bool split_qkv = false;                                         // q, k, v (and MLP) of a fused layer have a pair each
  bool train_t5xxl = false;

  // Ranks by what the name of a module holds, in the order of lora_layout.cpp's table; 0: none there.
  static constexpr size_t kNumTypes = 8;
  std::array<std::optional<int64_t>, kNumTypes> type_dims;
  // Of img_in, time_in, vector_in, guidance_in, txt_in; absent: no LoRA there.
  std::optional<std::array<int64_t, 5>> in_dims;
  // Regular expressions searched for in names; the first that matches gives the rank, above all other rules, or the
  // learning rate.
  std::vector<std::pair<std::string, int64_t>> reg_dims;
  std::vector<std::pair<std::string, double>> reg_lrs;

  double rank_dropout = 0, module_dropout = 0;
  // Factors on the learning rate of up projections: LoRA+ (Hayou et al. 2024, arXiv 2402.12354).
  std::optional<double> loraplus_lr_ratio, loraplus_unet_lr_ratio, loraplus_text_encoder_lr_ratio;

  std::vector<std::string> notes;  // arguments that were read and change nothing
};

// Throws ConfigError naming the argument. sizes: for the numbers of blocks.
LoraNetwork parse_lora_network(std::optional<int64_t> network_dim, std::optional<double> network_alpha,
                               const std::map<std::string, std::string>& network_args, const FluxConfig& sizes);

}  // namespace millrace::flux
