// Writes trained LoRA adapters as Hugging Face's PEFT reads them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "adapters/adapter_kind.h"
#include "nn/tensor_io.h"

namespace millrace {

struct PeftFacts {
  int64_t rank = 0;
  double alpha = 0;
  bool rank_stabilised = false;
  std::string base_model;           // name or folder of the frozen weights
  std::vector<std::string> layers;  // all that an adapter could be on
  AdapterKind kind = AdapterKind::kLora;
  double dropout = 0;
  bool alpha_is_rank = false;  // of each layer, whatever its own rank
  // The ranks of layers that do not have `rank`: written as PEFT's rank_pattern, and with alpha_is_rank as its
  // alpha_pattern.
  std::map<std::string, int64_t> own_ranks = {};
  std::map<std::string, double> own_alphas = {};  // of layers that have another alpha than either: for alpha_pattern
  // Of LoKr: how PEFT finds the sizes of the matrices again.
  std::optional<int64_t> lokr_factor = {};
  bool lokr_decompose_both = false;
};

// PEFT's target_modules for these layers among all: the ends of names ("q_proj") where every layer that ends so is
// adapted, whole names elsewhere. Sorted.
std::vector<std::string> peft_target_modules(const std::vector<std::string>& adapted,
                                             const std::vector<std::string>& layers);

// adapter_model.safetensors and adapter_config.json in a folder. ours: <layer>.<role> of every matrix, whole; the ranks
// of LoRA, DoRA and LoHa give facts.own_ranks. Each file appears complete, the configuration last.
void write_peft_folder(const std::filesystem::path& folder, const TensorMap& ours, const PeftFacts& facts);
// <layer>.down as PEFT names it: base_model.model.<layer>.lora_A.weight; <layer>.up: lora_B; of LoHa <layer>.w1_a:
// hada_w1_a.
std::string peft_name(const std::string& ours, AdapterKind kind = AdapterKind::kLora);
// The text of adapter_config.json.
std::string peft_config_json(const std::vector<std::string>& adapted, const PeftFacts& facts);

}  // namespace millrace
