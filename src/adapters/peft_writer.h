// Writes trained LoRA adapters as Hugging Face's PEFT reads them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "nn/tensor_io.h"

namespace millrace {

struct PeftFacts {
  int64_t rank = 0;
  double alpha = 0;
  bool rank_stabilised = false;
  std::string base_model;           // name or folder of the frozen weights
  std::vector<std::string> layers;  // all that an adapter could be on
  bool is_dora = false;
  double dropout = 0;
  bool alpha_is_rank = false;  // of each layer, whatever its own rank
  // The ranks of layers that do not have `rank`: written as PEFT's rank_pattern, and with alpha_is_rank as its
  // alpha_pattern.
  std::map<std::string, int64_t> own_ranks = {};
};

// PEFT's target_modules for these layers among all: the ends of names ("q_proj") where every layer that ends so is
// adapted, whole names elsewhere. Sorted.
std::vector<std::string> peft_target_modules(const std::vector<std::string>& adapted,
                                             const std::vector<std::string>& layers);

// adapter_model.safetensors and adapter_config.json in a folder. ours: <layer>.down [R, K] and <layer>.up [N, R],
// whole, with DoRA also <layer>.magnitude [N]; their ranks give facts.own_ranks. Each file appears complete, the
// configuration last.
void write_peft_folder(const std::filesystem::path& folder, const TensorMap& ours, const PeftFacts& facts);
// <layer>.down as PEFT names it: base_model.model.<layer>.lora_A.weight; <layer>.up: lora_B.
std::string peft_name(const std::string& ours);
// The text of adapter_config.json.
std::string peft_config_json(const std::vector<std::string>& adapted, const PeftFacts& facts);

}  // namespace millrace
