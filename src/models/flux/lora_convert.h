// LoRA files of FLUX: into another convention, to another rank, and out of the difference of two models.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "models/flux/lora_export.h"
#include "models/model_table.h"

namespace millrace::flux {

struct LoraOutput {
  std::filesystem::path path;  // ends in ".safetensors", or is a folder; PEFT's is a folder
  LoraNaming naming = LoraNaming::kKohya;
  std::optional<torch::ScalarType> dtype;  // none: as the tensors are
  SafetensorsMetadata metadata;            // of kohya's files; hashes and the basic ss_* keys are added
  bool keeps_rank = false;                 // metadata say ss_network_dim and ss_network_alpha, not the tensors
};
// Returns the number of tensors written.
size_t write_lora(const LoraParts& parts, const FluxConfig& config, LoraOutput output);

// naming: none: as the file has it. rank: of the nearest LoRA of that rank (adapters/low_rank.h); none: as it is.
size_t convert_lora(const WeightStore& file, std::optional<LoraNaming> naming, std::optional<int64_t> rank,
                    LoraOutput output);

// The nearest LoRA of that rank to what tuned has in place of base, layer by layer; layers that are equal have none. A
// note names the other tensors that differ, which a LoRA cannot hold. Throws ModelError where the two are not of one
// size or nothing differs.
LoraParts extract_lora(const ModelWeights& tuned, const ModelWeights& base, int64_t rank);

}  // namespace millrace::flux
