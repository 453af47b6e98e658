// What training passes of LoRA leave out: numbers, ranks and whole adapters, for each sample by itself.
//
// As networks.lora_flux of sd-scripts has them, except that a whole adapter is left out for a sample rather than for a
// batch: what is left out belongs to seed, epoch, sample and layer, whatever the batch is that the sample is in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "adapters/lora.h"
#include "adapters/lora_options.h"

namespace millrace {

struct AdaptedLayer {
  std::string name;
  Lora* adapter = nullptr;
};

// The samples of a pass, in the order of its rows.
struct DropoutSamples {
  uint64_t seed = 0;
  const std::vector<uint32_t>& epochs;
  const std::vector<uint64_t>& sample_ids;
};

bool has_dropout(const LoraConfig& config);
// From the next pass on; clear_dropout(): nothing is left out from then on.
void set_dropout(const std::vector<AdaptedLayer>& layers, const LoraConfig& config, const DropoutSamples& samples);
void clear_dropout(const std::vector<AdaptedLayer>& layers);

}  // namespace millrace
